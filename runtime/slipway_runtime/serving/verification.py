"""A prediction for whoever checks the way to this server and knows nothing of its model: the operator."""

from __future__ import annotations

import logging
from typing import Final

import numpy as np

from slipway_runtime.contract import REVISION_HEADER, RuntimeConfig
from slipway_runtime.dispatch.ticket import Dispatch, Ticket
from slipway_runtime.engines.engine import LoadedModel
from slipway_runtime.http.exchange import Reply, Request
from slipway_runtime.http.wire import send_error
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.warmup import generate
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.serving.exchange import record_of
from slipway_runtime.telemetry.telemetry import Telemetry

_SEED: Final = 20240229
_PRIORITY: Final = 1
"""Before ordinary requests: a check must not fail because there is work."""

log = logging.getLogger(__name__)


class VerifyEndpoint:
    """An `http.exchange.Handler`. The request's body means nothing; the model is asked what its warm-up was."""

    def __init__(
        self,
        config: RuntimeConfig,
        facts: LoadedModel,
        dispatch: Dispatch,
        lifecycle: Lifecycle,
        telemetry: Telemetry,
    ) -> None:
        self._config = config
        self._facts = facts
        self._dispatch = dispatch
        self._lifecycle = lifecycle
        self._telemetry = telemetry

    def __call__(self, request: Request, reply: Reply) -> None:
        record = record_of(request, "other")
        self._telemetry.begin(record, request.headers.get(b"traceparent"))

        def finish(ticket: Ticket) -> None:
            reply.on_disconnect = None
            if ticket.outputs is None:
                refuse(ticket.error or ApiError(500, "internal", "The model gave no answer."))
                return
            body = self._lifecycle.status().to_json().encode()
            reply.send(200, b"application/json", [body], [(REVISION_HEADER.encode(), self._revision)])
            record.status, record.bytes_out = 200, len(body)
            self._telemetry.finish(record)

        def refuse(error: ApiError) -> None:
            self._refuse(request, reply, error)
            record.status, record.code = error.status, error.code
            self._telemetry.finish(record)

        def leave() -> None:
            record.leave(ticket.stage)
            self._dispatch.cancel(ticket)
            self._telemetry.finish(record)

        try:
            ticket = Ticket(self._inputs(), finish, priority=_PRIORITY)
        except (ValueError, MemoryError) as error:
            refuse(ApiError(500, "internal", f"No input could be made for the model: {error}"))
            return
        reply.on_disconnect = leave
        self._dispatch.submit(ticket)

    @property
    def _revision(self) -> bytes:
        return self._lifecycle.revision.encode("latin-1", "replace")

    def _inputs(self) -> dict[str, Array]:
        """One row of the shape that the warm-up measured."""
        signature, rows = self._facts.signature, self._facts.bucket
        generator = np.random.default_rng(_SEED)
        shapes = [[1, *row] if signature.batched else list(row) for row in rows]
        return {
            spec.name: generate(spec.datatype, shape, generator)
            for spec, shape in zip(signature.inputs, shapes, strict=True)
        }

    def _refuse(self, request: Request, reply: Reply, error: ApiError) -> None:
        log.warning("The check of this server was answered %d: %s", error.status, error.message)
        told = ApiError(
            error.status,
            error.code,
            error.message,
            details=error.details,
            headers={**error.headers, REVISION_HEADER: self._lifecycle.revision},
        )
        send_error(reply, told, request_id=request.request_id, model=self._config.name)
