"""The gRPC server on its port: health from the first moment, predictions once there is a model, until the last call."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2

from slipway_runtime.contract import FailureReason, RuntimeConfig, Stage
from slipway_runtime.failure import StartupError
from slipway_runtime.http.files import make_room
from slipway_runtime.rpc import reflection
from slipway_runtime.rpc.calls import DescribedCalls
from slipway_runtime.rpc.entrance import SPARE_PLACES
from slipway_runtime.rpc.health import NAME as HEALTH
from slipway_runtime.rpc.health import Health
from slipway_runtime.rpc.infer import INFER_PATH, STREAM_PATH, InferCalls
from slipway_runtime.rpc.messages import METHODS, SERVICE
from slipway_runtime.rpc.methods import Methods
from slipway_runtime.rpc.service import Backend, Gateway
from slipway_runtime.rpc.sockets import received_bytes
from slipway_runtime.rpc.tls import credentials

_PING_MILLISECONDS: Final = 5_000
"""Clients may ask this often whether the connection lives; more often counts as abuse."""
_CONNECTION_MILLISECONDS: Final = 20_000
"""Then a client is asked to come by another connection, which Kubernetes may lead to another pod. In a drain all have
gone that way by the limit: the library's own stop cancels calls that arrive in its moment."""
_UNTAKEN_SECONDS: Final = 3_600
"""The library cancels all calls at once that have waited so long for the loop to take them; 30 s unless told. The loop
takes one call in several of its rounds, so on a machine that is busy with other work a burst can wait for longer. The
deadline that a client sets for itself ends its calls as before."""
_HOLD_SECONDS: Final = 0.25
"""Whoever would call again after an answer is waiting for one by then, and what has arrived has been taken."""
_ALIVE_MILLISECONDS: Final = 60_000
_SILENT_MILLISECONDS: Final = 20_000
"""A client is asked after each of the first whether it lives, and is gone when it says nothing for the second: its
machine is, or it reads nothing. The library's own two hours would leave its calls open for as long."""
_STREAMS: Final = 1_000
"""Calls of one connection at a time, so that no client takes all places; its library keeps the next ones back."""
_BEYOND: Final = 2
"""Messages of so many times the limit are received all the same, so that those who send them get our own words."""
_MOST_BYTES: Final = 2**31 - 1
_BEYOND_METADATA_BYTES: Final = 16 * 1024
_ENTRY_BYTES: Final = 32
"""What HTTP/2 counts for each entry of metadata, besides its name and value."""


class GrpcServer:
    """Used from the loop's thread."""

    def __init__(self, config: RuntimeConfig, gateway: Gateway) -> None:
        self._config = config
        self._gateway = gateway
        self._server: Any = None
        self._health = Health(("", SERVICE), gateway)
        self.port = 0
        """As bound, once started."""

    async def start(self, host: str, port: int) -> None:
        """Answers from now on; predictions once `open` was called. Raises `StartupError` when the port is taken."""
        gateway, most = self._gateway, self._config.limits.max_connections
        make_room(2 * most)  # for both ports
        self._server = grpc.aio.server(options=_options(self._config))
        self._server.add_generic_rpc_handlers((self._methods(),))
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if self._config.tls is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, credentials(self._config.tls))
        except RuntimeError as error:
            raise StartupError(
                Stage.CONFIG,
                FailureReason.PORT_IN_USE,
                f"Cannot listen on {address} (--grpc-port): {error}. Choose another port, or end what listens there.",
            ) from None
        look = partial(received_bytes, self.port)
        gateway.connections.received = gateway.counts.received = look
        await self._server.start()

    def open(self, backend: Backend) -> None:
        """The model is ready."""
        self._gateway.backend = backend
        self._health.tell(serving=True)

    def drain(self) -> None:
        """Health says no from now on; calls are answered all the same."""
        self._health.tell(serving=False)

    @property
    def begun_calls(self) -> int:
        """Since the start; those about health do not count."""
        return self._gateway.entrance.asked

    async def stop(self, grace_seconds: float) -> None:
        """Accepts nothing new, answers what is in flight, and cancels what is left after `grace_seconds`.

        The library cancels calls that arrive while it begins to stop, and clients call again as soon as they have an
        answer. So the answers of the last moment are held until clients have been told to leave their connections.
        """
        gateway = self._gateway
        if gateway.hold is None:
            gateway.hold = asyncio.Event()
            if grace_seconds:
                await asyncio.sleep(_HOLD_SECONDS)
        stopping = asyncio.create_task(self._server.stop(grace_seconds))
        await asyncio.sleep(0)  # it has begun, and told all clients
        gateway.hold.set()
        self._health.end_watches()
        for end in list(gateway.end_streams):
            end()
        await stopping

    def _methods(self) -> Methods:
        """All see a call before its message, so that it can be refused before, and counted when it has none."""
        infer, described = InferCalls(self._gateway), DescribedCalls(self._gateway)
        handlers: dict[str, Any] = {
            f"/{SERVICE}/{method}": grpc.stream_unary_rpc_method_handler(described.handler(method))
            for method in METHODS
        }
        # Bytes in and out: large tensors are read where they lie.
        handlers[INFER_PATH] = grpc.stream_unary_rpc_method_handler(infer.infer)
        handlers[STREAM_PATH] = grpc.stream_stream_rpc_method_handler(infer.stream)
        handlers |= self._health.handlers()
        handlers |= reflection.handlers({SERVICE: None, HEALTH: health_pb2.DESCRIPTOR}, self._gateway)
        return Methods(handlers, self._gateway)


def _options(config: RuntimeConfig) -> list[tuple[str, int]]:
    limits = config.limits
    metadata_bytes = limits.max_header_bytes + limits.max_header_count * _ENTRY_BYTES + _BEYOND_METADATA_BYTES
    return [
        ("grpc.max_receive_message_length", min(_BEYOND * config.max_request_bytes, _MOST_BYTES)),
        ("grpc.max_send_message_length", -1),
        # Between the two the library refuses some calls and not others.
        ("grpc.max_metadata_size", metadata_bytes),
        ("grpc.absolute_max_metadata_size", metadata_bytes),
        ("grpc.max_concurrent_streams", _STREAMS),
        ("grpc.max_allowed_incoming_connections", limits.max_connections + SPARE_PLACES),
        # Calls that the loop has not taken yet. Beyond the second number they are cancelled without a word.
        ("grpc.server.max_pending_requests", limits.max_connections + SPARE_PLACES),
        ("grpc.server.max_pending_requests_hard_limit", limits.max_connections + 2 * SPARE_PLACES),
        # 64 KiB of a message may come before the runtime reads it; the probe would let it become megabytes.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.so_reuseport", 0),  # a port that is taken must not be shared
        ("grpc.keepalive_time_ms", _ALIVE_MILLISECONDS),
        ("grpc.keepalive_timeout_ms", _SILENT_MILLISECONDS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _PING_MILLISECONDS),
        ("grpc.max_connection_age_ms", _CONNECTION_MILLISECONDS),
        ("grpc.server_max_unrequested_time_in_server", _UNTAKEN_SECONDS),
    ]
