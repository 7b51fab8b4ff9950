"""The errors of the operator, told apart by what is to be done about them."""

from __future__ import annotations


class SettingsError(Exception):
    """The environment contradicts itself or lacks something; the process cannot start."""


class LeaseLostError(Exception):
    """Another operator holds the Lease; this process knows the cluster no better than one that starts."""


class ApiError(Exception):
    """The API server did not do what it was asked. `message` holds its own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}" if status else message)
        self.status = status
        self.message = message


class NotFoundError(ApiError):
    """The object does not exist (any more)."""


class ConflictError(ApiError):
    """The object is not the one that was meant, or another manager owns a field of it. Look again."""


class RefusedError(ApiError):
    """The request was understood and refused; the same request will be refused again until something else changes."""


class TransientError(ApiError):
    """The network, an overloaded or a failing server: the same request may succeed later."""

    def __init__(self, status: int, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(status, message)
        self.retry_after_seconds = retry_after_seconds


class FencedError(TransientError):
    """The write was not sent, because the Lease is not held or was not renewed in time."""

    def __init__(self) -> None:
        super().__init__(0, "the Lease was not renewed in time, so nothing may be written")


class ObstructedError(Exception):
    """`doing` (such as `apply Service digits`) met `answer`."""

    def __init__(self, doing: str, answer: ApiError) -> None:
        super().__init__(f"{doing}: {answer}")
        self.doing = doing
        self.answer = answer
