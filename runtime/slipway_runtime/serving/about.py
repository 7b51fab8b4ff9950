"""Routes that tell about the server and its one model: health, metadata, configuration, statistics, repository."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from fastapi import FastAPI, Request, Response

from slipway_runtime.contract import RuntimeConfig
from slipway_runtime.engines.engine import LoadedModel
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.protocol.errors import ApiError, bad_request, unknown_model
from slipway_runtime.protocol.jsontext import parse_object, shown
from slipway_runtime.protocol.v1.status import model_status
from slipway_runtime.protocol.v2.metadata import (
    MODEL_VERSION,
    NO_SETTINGS,
    NO_SHARED_MEMORY,
    ONE_MODEL,
    model_config,
    model_metadata,
    repository_index,
    server_metadata,
)
from slipway_runtime.protocol.v2.statistics import Statistics, statistics_answer
from slipway_runtime.serving.exchange import json_response
from slipway_runtime.version import runtime_version

READ: Final = ["GET", "HEAD"]


@dataclass(frozen=True)
class Served:
    """What there is to tell about."""

    config: RuntimeConfig
    loaded: LoadedModel
    lifecycle: Lifecycle
    statistics: Statistics

    @property
    def name(self) -> str:
        return self.config.name


def check_model(request: Request, name: str) -> None:
    """The path's model and version are the ones that are served, else 404."""
    params = request.path_params
    given = params.get("model", name)
    if given != name:
        raise unknown_model(given, name)
    version = params.get("version", MODEL_VERSION)
    if version != MODEL_VERSION:
        raise ApiError(
            404,
            "version_not_found",
            f"Model {name!r} has no version {version[:100]!r}, expected {MODEL_VERSION!r} or none.",
        )


def add_about(app: FastAPI, served: Served) -> None:
    name, loaded, lifecycle = served.name, served.loaded, served.lifecycle
    _add(app, "/v2", lambda: server_metadata(runtime_version()))
    _add(app, "/v2/health/live", lambda: {"live": True})
    _add(app, "/v2/health/ready", lambda: {"ready": lifecycle.ready}, lambda: lifecycle.ready)
    _add(app, "/v2/models", lambda: {"models": [name]})
    if name != "stats":
        _add(app, "/v2/models/stats", lambda: statistics_answer(name, served.statistics.model_statistics()))
    metadata, configuration = model_metadata(name, loaded), model_config(served.config, loaded)
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        _add_model(app, path, name, lambda: metadata)
        _add_model(app, f"{path}/config", name, lambda: configuration)
        _add_model(app, f"{path}/stats", name, lambda: statistics_answer(name, served.statistics.model_statistics()))
        _add_model(
            app, f"{path}/ready", name, lambda: {"name": name, "ready": lifecycle.ready}, lambda: lifecycle.ready
        )
    _add(app, "/v1/models", lambda: {"models": [name]})
    for path in ("/v1/models/{model}", "/v1/models/{model}/versions/{version}"):
        _add_model(app, path, name, lambda: model_status(name, lifecycle.ready), lambda: lifecycle.ready)
    _add_repository(app, served)
    _add_refused(app, name)


def _add_repository(app: FastAPI, served: Served) -> None:
    async def index(request: Request) -> Response:
        only_ready = _only_ready(await request.body())
        return json_response(repository_index(served.name, served.lifecycle.ready, only_ready=only_ready))

    async def refuse(request: Request) -> NoReturn:
        check_model(request, served.name)
        raise ApiError(501, "not_supported", ONE_MODEL)

    app.add_route("/v2/repository/index", index, methods=["POST"])
    app.add_route("/v2/repository/models/{model}/load", refuse, methods=["POST"])
    app.add_route("/v2/repository/models/{model}/unload", refuse, methods=["POST"])


def _only_ready(body: bytes) -> bool:
    """What the request says of itself; most have no body."""
    ready = parse_object(body).get("ready", False) if body else False
    if not isinstance(ready, bool):
        raise bad_request("invalid_field", f"ready is {shown(ready)!r}, expected true or false.")
    return ready


def _add_refused(app: FastAPI, name: str) -> None:
    """What Triton's clients may ask for and is not here: said with the reason, not as a route that is missing."""

    def refuse(reason: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            check_model(request, name)
            raise ApiError(501, "not_supported", reason)

        return answer

    async def nothing_registered(request: Request) -> Response:
        return json_response([])

    for path in ("/v2/logging", "/v2/trace/setting", "/v2/models/{model}/trace/setting"):
        app.add_route(path, refuse(NO_SETTINGS), methods=[*READ, "POST"])
    for kind in ("systemsharedmemory", "cudasharedmemory"):
        app.add_route(f"/v2/{kind}/region/{{region}}/register", refuse(NO_SHARED_MEMORY), methods=["POST"])
        # Nothing is ever registered, so the truth is empty, and clearing it succeeds.
        for path in (f"/v2/{kind}", f"/v2/{kind}/region/{{region}}"):
            app.add_route(f"{path}/status", nothing_registered, methods=READ)
            app.add_route(f"{path}/unregister", nothing_registered, methods=["POST"])


def _add(app: FastAPI, path: str, content: Callable[[], Any], holds: Callable[[], bool] = lambda: True) -> None:
    async def show(request: Request) -> Response:
        return json_response(content(), 200 if holds() else 503)

    app.add_route(path, show, methods=READ)


def _add_model(
    app: FastAPI, path: str, name: str, content: Callable[[], Any], holds: Callable[[], bool] = lambda: True
) -> None:
    async def show(request: Request) -> Response:
        check_model(request, name)
        return json_response(content(), 200 if holds() else 503)

    app.add_route(path, show, methods=READ)
