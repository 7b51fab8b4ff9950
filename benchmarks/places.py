"""Where things lie: the checkout, and a cache outside of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
HERE: Final = Path(__file__).parent
PEERS: Final = HERE / "peers"
PAGE: Final = ROOT / "docs" / "benchmarks.md"


def cache() -> Path:
    """The benchmarks' part of `$SLIPWAY_CACHE` (default ~/.cache/slipway)."""
    base = os.environ.get("SLIPWAY_CACHE") or Path.home() / ".cache" / "slipway"
    return Path(base).expanduser().resolve() / "benchmarks"
