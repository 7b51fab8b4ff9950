"""From a loaded model to the routes that answer for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from fastapi import FastAPI

from slipway_runtime.batching.policy import make_policy
from slipway_runtime.batching.scheduler import Scheduler
from slipway_runtime.contract import RuntimeConfig
from slipway_runtime.dispatch.concurrency import Concurrency
from slipway_runtime.dispatch.dispatcher import Dispatcher
from slipway_runtime.dispatch.outlook import OutlookReader
from slipway_runtime.engines.engine import Engine, LoadedModel
from slipway_runtime.http.exchange import Handler, Shortcut
from slipway_runtime.http.rules import Rules
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.metrics import Metrics
from slipway_runtime.protocol.routes import codecs_for
from slipway_runtime.protocol.v2 import V2Codec
from slipway_runtime.protocol.v2.template import Templates
from slipway_runtime.serving.about import Served
from slipway_runtime.serving.app import build_application
from slipway_runtime.serving.asgi import OddPaths
from slipway_runtime.serving.convoy import Convoy
from slipway_runtime.serving.endpoint import Desk, InferEndpoint
from slipway_runtime.serving.ride import Guide
from slipway_runtime.serving.statistics import CountedStatistics
from slipway_runtime.serving.tritonmetrics import TritonMetrics
from slipway_runtime.serving.verification import VerifyEndpoint
from slipway_runtime.startup import Started
from slipway_runtime.telemetry.telemetry import Telemetry


@dataclass(frozen=True)
class Opened:
    engine: Engine
    dispatcher: Dispatcher
    concurrency: Concurrency
    routes: Mapping[bytes, Handler]
    """By whole paths as they are sent, with and without the prefix."""
    shortcuts: dict[bytes, Shortcut]
    """By path: those that answer what they can of it together."""
    app: FastAPI
    """Everything else."""
    served: Served


def open_routes(
    config: RuntimeConfig,
    lifecycle: Lifecycle,
    metrics: Metrics,
    telemetry: Telemetry,
    started: Started,
    date_line: Callable[[], bytes] = bytes,
) -> Opened:
    """In the event loop's thread. `date_line` is the HTTP server's."""
    facts = started.facts
    dispatcher = make_dispatcher(config, metrics, started.engine, facts)
    limit = config.limits.max_decompressed_bytes or config.max_request_bytes
    concurrency = Concurrency(config.max_concurrency)
    desk = Desk(config.name, dispatcher, concurrency, telemetry, limit)
    codecs = codecs_for(config.name, facts.signature, max_json_depth=config.limits.max_json_depth)
    endpoints = {codec: InferEndpoint(codec, desk) for codec in codecs.values()}
    plain = {path: endpoints[codec] for path, codec in codecs.items()}
    prefixed = {config.root_path.encode() + path: endpoint for path, endpoint in plain.items()}
    statistics = CountedStatistics(metrics.dispatch_counts, metrics.request_counts)
    if config.triton_metrics:
        counted = TritonMetrics(config.name, statistics, metrics.request_counts, metrics.dispatch_counts)
        metrics.registry.register(counted)
    odd = OddPaths(lambda path: plain.get(unquote_to_bytes(path)))
    served = Served(config, facts, lifecycle, statistics)
    app = build_application(served, odd.answer)
    verification = VerifyEndpoint(config, facts, dispatcher, lifecycle, telemetry)
    verify = dict.fromkeys(Rules.of(config).verify_paths, verification)
    shortcuts: dict[bytes, Shortcut] = {}
    if Convoy.fits(facts, telemetry):
        shortcuts = {
            path: _convoy(path, endpoint.codec, facts, dispatcher, concurrency, metrics, telemetry, date_line)
            for path, endpoint in {**plain, **prefixed}.items()
            if isinstance(endpoint.codec, V2Codec)
        }
    routes: dict[bytes, Handler] = {**plain, **prefixed, **verify}
    return Opened(started.engine, dispatcher, concurrency, routes, shortcuts, app, served)


def _convoy(
    path: bytes,
    codec: V2Codec,
    facts: LoadedModel,
    dispatcher: Dispatcher,
    concurrency: Concurrency,
    metrics: Metrics,
    telemetry: Telemetry,
    date_line: Callable[[], bytes],
) -> Convoy:
    guide = Guide(
        path.decode(),
        codec.protocol,
        facts,
        Templates(codec, facts.signature),
        dispatcher.scheduler.policy.timeout_seconds,
        metrics.dispatch_counts,
        telemetry,
        date_line,
        asyncio.get_running_loop().call_soon,
    )
    return Convoy(guide, dispatcher, concurrency)


def make_dispatcher(config: RuntimeConfig, metrics: Metrics, engine: Engine, facts: LoadedModel) -> Dispatcher:
    policy = make_policy(
        config.batching,
        config.sla,
        config.request_timeout_seconds,
        facts.max_batch_size,
        executors=engine.slots,
        ceiling=facts.ceiling,
    )
    scheduler = Scheduler(policy, facts.points, facts.bucket, facts.row_elements)
    counts = metrics.dispatch_counts
    counts.outlook = OutlookReader(scheduler, counts)
    return Dispatcher(engine, facts, scheduler, counts)
