"""Handwritten digits as small pictures for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SHADES: Final = " ░▒▓█"


def draw(pixels: Sequence[Sequence[float]]) -> list[str]:
    """Lines of one picture; pixels run from 0 (paper) to 1 (ink) and each is two characters wide."""
    return ["".join(SHADES[min(int(value * len(SHADES)), len(SHADES) - 1)] * 2 for value in row) for row in pixels]


def beside(pictures: Sequence[Sequence[str]], captions: Sequence[Sequence[str]], gap: int = 4) -> str:
    """Pictures of equal size in one row, each with its caption lines below."""
    space = " " * gap
    width = max(len(picture[0]) for picture in pictures)
    rows = [space.join(f"{line:<{width}}" for line in lines) for lines in zip(*pictures, strict=True)]
    rows += [space.join(f"{line:<{width}}" for line in lines) for lines in zip(*captions, strict=True)]
    return "\n".join(row.rstrip() for row in rows)
