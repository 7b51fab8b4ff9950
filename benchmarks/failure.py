"""What ends the benchmarks, or one server's part in them."""

from __future__ import annotations


class BenchmarkError(Exception):
    """Nothing can be measured. The message says what is missing and how to get it."""


class ServerError(Exception):
    """One server does not take part. The message is the reason that the table shows."""
