"""The gRPC server on its port: health from the first moment, predictions once there is a model, until the last call."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from slipway_runtime.contract import FailureReason, RuntimeConfig, Stage
from slipway_runtime.failure import StartupError
from slipway_runtime.rpc.calls import DescribedCalls
from slipway_runtime.rpc.health import NAME as HEALTH
from slipway_runtime.rpc.health import Health
from slipway_runtime.rpc.infer import InferCalls
from slipway_runtime.rpc.messages import METHODS, POOL, SERVICE
from slipway_runtime.rpc.service import Backend, Gateway
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
_REFLECTION: Final = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name


class GrpcServer:
    """Used from the loop's thread."""

    def __init__(self, config: RuntimeConfig, gateway: Gateway) -> None:
        self._config = config
        self._gateway = gateway
        self._server: Any = None
        self._health = Health(("", SERVICE))
        self.port = 0
        """As bound, once started."""

    async def start(self, host: str, port: int) -> None:
        """Answers from now on; predictions once `open` was called. Raises `StartupError` when the port is taken."""
        limits = self._config.limits
        self._server = grpc.aio.server(options=_options(self._config), maximum_concurrent_rpcs=limits.max_connections)
        self._add_services()
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
        """Since the start."""
        return self._gateway.begun_calls

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

    def _add_services(self) -> None:
        infer, described = InferCalls(self._gateway), DescribedCalls(self._gateway)
        handlers: dict[str, Any] = {
            method: grpc.unary_unary_rpc_method_handler(described.handler(method)) for method in METHODS
        }
        # Bytes in and out: large tensors are read where they lie.
        handlers["ModelInfer"] = grpc.unary_unary_rpc_method_handler(infer.infer)
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(infer.stream)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            ReflectionServicer((SERVICE, HEALTH, _REFLECTION), _reflection_pool()), self._server
        )


def _options(config: RuntimeConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", config.max_request_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", config.limits.max_header_bytes),
        ("grpc.so_reuseport", 0),  # a port that is taken must not be shared
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _PING_MILLISECONDS),
        ("grpc.max_connection_age_ms", _CONNECTION_MILLISECONDS),
        ("grpc.server_max_unrequested_time_in_server", _UNTAKEN_SECONDS),
    ]


def _reflection_pool() -> DescriptorPool:
    pool = DescriptorPool()
    files = [POOL.FindFileByName(name) for name in ("model_config.proto", "grpc_service.proto")]
    for file in (*files, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
        pool.AddSerializedFile(file.serialized_pb)
    return pool
