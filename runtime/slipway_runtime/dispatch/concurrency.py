"""How many predictions may be in flight, whatever protocol they came by."""

from __future__ import annotations

from slipway_runtime.dispatch.answers import too_many


class Concurrency:
    """Counts predictions from their last byte to their answer. Used from the event loop's thread."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.in_flight = 0
        """Only counted where there is a limit."""

    def take(self) -> bool:
        """False: it does not fit now. What was taken must be given back."""
        if self.limit is not None:
            if self.in_flight >= self.limit:
                return False
            self.in_flight += 1
        return True

    def admit(self) -> None:
        """As `take`, for whoever refuses what does not fit. Raises `ApiError`."""
        if not self.take():
            assert self.limit is not None
            raise too_many(self.limit)

    def give(self, predictions: int = 1) -> None:
        if self.limit is not None:
            self.in_flight -= predictions
