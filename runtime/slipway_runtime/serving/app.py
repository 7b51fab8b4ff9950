"""Routes of the inference port once a model is served, and the one shape of every error."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.protocol.v2.metadata import MODEL_VERSION, server_metadata
from slipway_runtime.serving.exchange import error_response, exchange_of, json_response
from slipway_runtime.serving.inference import Inference, describe
from slipway_runtime.serving.openapi import build_openapi

_READ: Final = ["GET", "HEAD"]


def build_app(inference: Inference, lifecycle: Lifecycle) -> FastAPI:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    _add_error_handlers(app, inference.served.name)
    _add_predictions(app, inference)
    _add_metadata(app, inference, lifecycle)
    _add_docs(app, inference)
    return app


def _add_predictions(app: FastAPI, inference: Inference) -> None:
    served = inference.served

    async def infer(request: Request) -> Response:
        response = await inference.answer(request)
        if response is None:
            exchange_of(request.scope).protocol = "v2"
            _check_model(request, served.name)
            raise HTTPException(404)
        return response

    app.add_route("/v2/models/{model}/infer", infer, methods=["POST"])
    app.add_route("/v2/models/{model}/versions/{version}/infer", infer, methods=["POST"])
    app.add_route("/models/{model}/predict", infer, methods=["POST"])
    app.add_route("/predict", infer, methods=["POST"])


def _add_metadata(app: FastAPI, inference: Inference, lifecycle: Lifecycle) -> None:
    served = inference.served
    metadata = describe(served)
    server = server_metadata(runtime_version())

    async def show_server(request: Request) -> Response:
        return json_response(server)

    async def live(request: Request) -> Response:
        return json_response({"live": True})

    async def ready(request: Request) -> Response:
        return json_response({"ready": lifecycle.ready}, 200 if lifecycle.ready else 503)

    async def show_model(request: Request) -> Response:
        _check_model(request, served.name)
        return json_response(metadata)

    async def model_ready(request: Request) -> Response:
        _check_model(request, served.name)
        return json_response({"name": served.name, "ready": lifecycle.ready}, 200 if lifecycle.ready else 503)

    app.add_route("/v2", show_server, methods=_READ)
    app.add_route("/v2/health/live", live, methods=_READ)
    app.add_route("/v2/health/ready", ready, methods=_READ)
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        app.add_route(path, show_model, methods=_READ)
        app.add_route(f"{path}/ready", model_ready, methods=_READ)


def _add_docs(app: FastAPI, inference: Inference) -> None:
    served = inference.served
    document = build_openapi(served.name, served.signature, runtime_version())

    async def show_openapi(request: Request) -> Response:
        root_path = request.scope.get("root_path", "")
        return json_response({**document, "servers": [{"url": root_path or "/"}]})

    async def show_docs(request: Request) -> Response:
        root_path = request.scope.get("root_path", "")
        return get_swagger_ui_html(openapi_url=f"{root_path}/openapi.json", title=f"{served.name} - Slipway")

    async def redirect_to_docs(request: Request) -> Response:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/docs", status_code=307)

    app.add_route("/openapi.json", show_openapi, methods=_READ)
    app.add_route("/docs", show_docs, methods=_READ)
    app.add_route("/", redirect_to_docs, methods=_READ)


def _check_model(request: Request, name: str) -> None:
    params = request.path_params
    if params["model"] != name:
        raise ApiError(404, "model_not_found", f"There is no model {params['model'][:100]!r} here, expected {name!r}.")
    given = params.get("version", MODEL_VERSION)
    if given != MODEL_VERSION:
        raise ApiError(
            404,
            "version_not_found",
            f"Model {name!r} has no version {given[:100]!r}, expected {MODEL_VERSION!r} or none.",
        )


def _add_error_handlers(app: FastAPI, name: str) -> None:
    async def on_api_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return error_response(error, exchange_of(request.scope), name)

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return error_response(_translate(request, error), exchange_of(request.scope), name)

    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(HTTPException, on_http_error)


def _translate(request: Request, error: HTTPException) -> ApiError:
    """The framework's own refusals: 404 for no route, 405 for a wrong method."""
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return ApiError(
            404, "route_not_found", f"There is no {request.url.path[:200]} here. /docs lists what there is."
        )
    if error.status_code == 405:
        allowed = headers.get("Allow", headers.get("allow", "another method"))
        message = f"{request.method[:20]} is not answered at {request.url.path[:200]}, expected {allowed}."
        return ApiError(405, "method_not_allowed", message, headers=headers)
    return ApiError(error.status_code, "http_error", str(error.detail), headers=headers)


def runtime_version() -> str:
    try:
        return version("slipway")
    except PackageNotFoundError:  # run from a source tree
        return "0"
