"""How the outputs of one answer are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class OutputForm:
    binary: bool = False
    """Raw bytes behind the JSON instead of `data`."""
    classes: int = 0
    """Above 0: the so many greatest values, each as "value:index"."""


JSON_FORM: Final = OutputForm()
BINARY_FORM: Final = OutputForm(binary=True)

Form = tuple[OutputForm, ...] | None
"""One for each output of `Decoded.outputs`; None: all of them as JSON."""
