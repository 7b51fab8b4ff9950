"""The gRPC port as the process sees it: opened beside the HTTP port, given the same model, ended with it."""

from __future__ import annotations

import logging

from slipway_runtime.contract import RuntimeConfig
from slipway_runtime.dispatch.concurrency import Concurrency
from slipway_runtime.dispatch.ticket import Dispatch
from slipway_runtime.http.auth import ApiKeys
from slipway_runtime.http.budget import ByteBudget
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.protocol.v2.metadata import model_config, model_metadata, repository_index, server_metadata
from slipway_runtime.protocol.v2.statistics import statistics_answer
from slipway_runtime.rpc.codec import GrpcCodec
from slipway_runtime.rpc.counts import GrpcCounts
from slipway_runtime.rpc.description import Description
from slipway_runtime.rpc.server import GrpcServer
from slipway_runtime.rpc.service import Backend, Gateway
from slipway_runtime.serving.about import Served
from slipway_runtime.telemetry.telemetry import Telemetry
from slipway_runtime.version import runtime_version

log = logging.getLogger(__name__)


async def listen(
    config: RuntimeConfig,
    host: str,
    port: int,
    *,
    lifecycle: Lifecycle,
    telemetry: Telemetry,
    keys: ApiKeys | None,
    budget: ByteBudget,
    counts: GrpcCounts,
) -> GrpcServer:
    """Raises `StartupError`."""
    server = GrpcServer(config, Gateway.of(config, telemetry, lifecycle, keys, budget, counts))
    await server.start(host, port)
    log.info("Listening for gRPC", extra={"grpc_port": server.port})
    return server


def backend_of(served: Served, dispatch: Dispatch, concurrency: Concurrency) -> Backend:
    name, loaded = served.name, served.loaded
    server, model = server_metadata(runtime_version()), model_metadata(name, loaded)
    configuration = model_config(served.config, loaded)
    description = Description(
        server=lambda: server,
        model=lambda: model,
        config=lambda: configuration,
        statistics=lambda: statistics_answer(name, served.statistics.model_statistics()),
        index=lambda ready: repository_index(name, served.lifecycle.ready, only_ready=ready),
    )
    return Backend(GrpcCodec(name, loaded.signature), dispatch, description, concurrency)
