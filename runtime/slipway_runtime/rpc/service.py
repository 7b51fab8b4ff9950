"""The service's calls: each is admitted, recorded and answered, and whatever goes wrong has its status and words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final

from slipway_runtime.contract import RuntimeConfig
from slipway_runtime.dispatch.answers import retry_after
from slipway_runtime.dispatch.concurrency import Concurrency
from slipway_runtime.dispatch.ticket import Dispatch
from slipway_runtime.http.auth import ApiKeys
from slipway_runtime.http.budget import ByteBudget
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.protocol.errors import ApiError, internal_error
from slipway_runtime.rpc.call import Headers, check_key, headers_of, new_record, request_id_of
from slipway_runtime.rpc.codec import GrpcCodec
from slipway_runtime.rpc.connections import Connection, Connections
from slipway_runtime.rpc.counts import GrpcCounts
from slipway_runtime.rpc.description import Description
from slipway_runtime.rpc.entrance import Entrance
from slipway_runtime.rpc.intake import Intake
from slipway_runtime.rpc.status import code_of, details_of, metadata_of
from slipway_runtime.telemetry.record import RequestRecord
from slipway_runtime.telemetry.telemetry import Telemetry

_LOADING_RETRY_SECONDS: Final = 5
_GIVE_UP_SECONDS: Final = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backend:
    """What answers once the model is loaded."""

    codec: GrpcCodec
    dispatch: Dispatch
    description: Description
    concurrency: Concurrency


@dataclass(eq=False)
class Gateway:
    """What every call needs; one for the process. Used from the loop's thread."""

    telemetry: Telemetry
    lifecycle: Lifecycle
    keys: ApiKeys | None
    budget: ByteBudget
    connections: Connections
    counts: GrpcCounts
    entrance: Entrance
    intake: Intake
    backend: Backend | None = None
    """None until the model is ready."""

    end_streams: set[Callable[[], object]] = field(default_factory=set)
    """One for each open stream: what was read of it is answered, nothing more is read."""

    hold: asyncio.Event | None = None
    """From the first moment of the stop on: what is answered waits until it is set."""

    @classmethod
    def of(
        cls,
        config: RuntimeConfig,
        telemetry: Telemetry,
        lifecycle: Lifecycle,
        keys: ApiKeys | None,
        budget: ByteBudget,
        counts: GrpcCounts,
    ) -> Gateway:
        connections = Connections(config.limits.max_connections)
        entrance = Entrance(config.limits, connections, counts)
        intake = Intake(config.max_request_bytes, config.request_timeout_seconds, budget, connections, counts)
        return cls(telemetry, lifecycle, keys, budget, connections, counts, entrance, intake)

    def ready_backend(self) -> Backend:
        if self.backend is None:
            raise ApiError(
                503,
                "loading",
                f"The model is not ready yet ({self.lifecycle.describe_progress()}).",
                headers={"Retry-After": str(_LOADING_RETRY_SECONDS)},
            )
        return self.backend

    def admit(self, backend: Backend, size_bytes: int) -> None:
        """A prediction of this size; `leave` ends it. Raises `ApiError` when there is no room for it now."""
        backend.concurrency.admit()
        if not self.budget.take(size_bytes):
            backend.concurrency.give()
            raise ApiError(
                429,
                "bytes_budget",
                f"Requests in flight hold {self.budget.used_bytes} of {self.budget.limit_bytes} bytes"
                f" (maxInflightBytes); another {size_bytes} do not fit now.",
                headers=retry_after(1),
            )

    def leave(self, backend: Backend, size_bytes: int) -> None:
        """It was answered, or nobody waits for it any more."""
        self.budget.give(size_bytes)
        backend.concurrency.give()

    async def answer(
        self,
        context: Any,
        record: RequestRecord,
        headers: Headers,
        work: Callable[[bytes], Awaitable[bytes]],
        *,
        open_to_all: bool = False,
    ) -> bytes:
        """What `work` gives for the call's message; every error as a status. `record` is finished whatever happens."""
        self.telemetry.begin(record, headers.get("traceparent"))
        content, failure = b"", None
        try:
            connection = self.entrance.enter(context, health=open_to_all)
            if not open_to_all:
                check_key(self.keys, headers)
            content = await work(await self._read(context, connection, record))
            record.status, record.bytes_out = 200, len(content)
        except asyncio.CancelledError:
            record.leave(record.left_in or "compute")
            raise
        except Exception as error:  # noqa: BLE001 - translated
            failure = self.translate(error, record)
        finally:
            self.telemetry.finish(record)
        if self.hold is not None:
            await self.hold.wait()
        return content if failure is None else await abort(context, failure, record)

    async def let_in(self, context: Any, *, health: bool = False) -> Connection:
        """For calls that are not recorded. Never returns where there is no place for them."""
        try:
            return self.entrance.enter(context, health=health)
        except ApiError as error:
            await self.refuse(context, error)
            raise

    async def refuse(self, context: Any, error: ApiError) -> None:
        """Never returns."""
        self.counts.note(error.code)
        request_id = request_id_of(headers_of(context))
        await context.abort(code_of(error), details_of(error), metadata_of(error, request_id))

    async def _read(self, context: Any, connection: Connection, record: RequestRecord) -> bytes:
        record.left_in = "read"
        message = await self.intake.only_message(context, connection)
        record.left_in = ""
        record.bytes_in, record.read_seconds = len(message), perf_counter() - record.started_at
        return message

    def translate(self, error: Exception, record: RequestRecord) -> ApiError:
        """The error as clients see it, noted in the record and counted where it is about a limit."""
        if not isinstance(error, ApiError):
            log.error("A request failed inside the runtime", exc_info=error, extra={"request_id": record.request_id})
            error = internal_error(record.request_id)
        record.status, record.code = error.status, error.code
        self.counts.note(error.code)
        return error


async def abort(context: Any, error: ApiError, record: RequestRecord) -> bytes:
    """Never returns."""
    content: bytes = await context.abort(code_of(error), details_of(error), metadata_of(error, record.request_id))
    return content


async def give_up(context: Any, error: ApiError, record: RequestRecord) -> None:
    """As `abort`, for a client that may never read it."""
    try:
        async with asyncio.timeout(_GIVE_UP_SECONDS):
            await abort(context, error, record)
    except TimeoutError:
        # The status waits behind what the client does not read, and leaves with its connection.
        raise asyncio.CancelledError from None


def begin_call(context: Any, path: str) -> tuple[RequestRecord, Headers]:
    headers = headers_of(context)
    return new_record(path, headers, context), headers
