"""Which loader opens an artifact, and why that one. Pure; the status and the log tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slipway_runtime.contract import Format

_LOADERS: Final = {Format.TORCH_SCRIPT: "TorchScript", Format.PYTHON: "Python"}
"""By what the artifact is. A format may come to have several loaders, so the two words are told apart."""


@dataclass(frozen=True)
class LoaderChoice:
    loader: str
    """One word, in the form of a condition's reason."""
    reason: str
    """For people: what the choice rests on."""

    def describe(self) -> str:
        """One line for the log."""
        return f"The {self.loader} loader opens the artifact: {self.reason}"


def choose_loader(found: Format, asked: Format) -> LoaderChoice | None:
    """`found` is what the content is, `asked` the configuration's word. None where the content is of no format that
    is loaded; whoever loads it says so."""
    if found not in _LOADERS:
        return None
    if asked is Format.AUTO:
        reason = f"its content is {found}, and spec.artifact.format leaves the choice to the content."
    elif found is Format.PYTHON:
        reason = f"spec.artifact.format is {asked}; code is never chosen by content."
    else:
        reason = f"spec.artifact.format is {asked}, which its content has to be."
    return LoaderChoice(_LOADERS[found], reason)
