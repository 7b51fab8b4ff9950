"""What is wrong with a manifest, and where. Pure.

A path is a tuple of keys and list positions from the document's root; `Problem.text` says what was given, what is
expected and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

Path = tuple[str | int, ...]

_PLAIN_KEY: Final = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_USER_INFO: Final = re.compile(r"(?<=://)[^/\s'\"]+@")
_QUOTED_LENGTH: Final = 120


class MapKey(str):
    """A key that the user chose, such as a label's; it equals the text."""

    __slots__ = ()


@dataclass(frozen=True)
class Problem:
    """One thing that the API server would refuse."""

    path: Path
    text: str

    def __str__(self) -> str:
        text = _USER_INFO.sub("***@", self.text)
        where = format_path(self.path)
        if not where or text.startswith(f"{where}: "):
            return text
        return f"{where}: {text}"


def format_path(path: Path) -> str:
    """`spec.runtime.env[0].name`; a key that the user chose stands in brackets, as Kubernetes writes it."""
    text = ""
    for step in path:
        if isinstance(step, int | MapKey) or not _PLAIN_KEY.match(step):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def quote(value: Any) -> str:
    """A value as the user wrote it, more or less; a long one is cut."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= _QUOTED_LENGTH else f"'{value[:_QUOTED_LENGTH]}…'"
    return str(value)


def did_you_mean(given: Any, known: Iterable[str]) -> str:
    """A sentence, or nothing when no known word is close."""
    by_lower_case = {word.lower(): word for word in known}
    close = get_close_matches(str(given).lower(), by_lower_case, n=1, cutoff=0.6)
    return f" Did you mean {by_lower_case[close[0]]}?" if close else ""
