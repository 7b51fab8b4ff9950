"""What a Python handler may import: the type of `ctx`, and an error for a single row."""

from __future__ import annotations

from slipway_runtime.models.handler.context import Context
from slipway_runtime.models.model import RowError

__all__ = ["Context", "RowError"]
