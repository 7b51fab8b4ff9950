"""What is answered when a request cannot be: status, code, text and details, in one shape for every path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

RETRYABLE_STATUSES: Final = frozenset({408, 429, 503, 504})


class ApiError(Exception):
    """`code` is stable and for programs; `message` says where, what was given and what is expected."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.headers = dict(headers or {})

    def body(self, *, request_id: str, model: str) -> dict[str, Any]:
        content: dict[str, Any] = {
            "error": self.message,
            "code": self.code,
            "request_id": request_id,
            "model": model,
            "retryable": self.status in RETRYABLE_STATUSES,
        }
        if self.details:
            content["details"] = list(self.details)
        return content


def unknown_model(given: str, served: str) -> ApiError:
    """Begins as Triton's own answer does: the scripts of its documentation look for these words."""
    return ApiError(
        404,
        "model_not_found",
        f"Request for unknown model: there is no model {given[:100]!r} here, expected {served!r}.",
    )


def internal_error(request_id: str) -> ApiError:
    """For what only the log may tell, which has it under `request_id`."""
    return ApiError(500, "internal", f"The runtime failed; its log has the cause under {request_id}.")


def bad_request(code: str, message: str, **details: Any) -> ApiError:
    """400, with `details` about the one part that is wrong."""
    return ApiError(400, code, message, details=[details] if details else ())
