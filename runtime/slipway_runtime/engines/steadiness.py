"""Whether the time of a model hangs on the size of its batch alone. Pure, but for reading the artifact."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Final

from slipway_runtime.contract import Format

_LOOP: Final = re.compile(rb"^\s*(?:for|while)\b", re.MULTILINE)
"""In the code of a TorchScript archive, which is printed as Python; what scripting unrolled is no loop there."""


def is_steady(path: Path, form: Format) -> bool:
    """False where the model's code loops, as its input may say how often, and where its code is not known."""
    if form is not Format.TORCH_SCRIPT:
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            code = [name for name in archive.namelist() if "/code/" in name and name.endswith(".py")]
            return bool(code) and not any(_LOOP.search(archive.read(name)) for name in code)
    except (OSError, zipfile.BadZipFile):
        return False
