"""Everything on the inference port but the predictions, and the one shape of every error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from slipway_runtime.contract import VERIFY_PATH
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.serving.about import READ, Served, add_about, check_model
from slipway_runtime.serving.exchange import error_response, exchange_of
from slipway_runtime.serving.swagger import add_swagger

Predict = Callable[[Request], Awaitable[Response | None]]

_MODELS: Final = "/v2/models/{model}"
_PREDICTIONS: Final = (
    f"{_MODELS}/infer",
    f"{_MODELS}/versions/{{version}}/infer",
    "/v1/models/{model}:predict",
    "/v1/models/{model}/versions/{version}:predict",
    "/models/{model}/predict",
    "/predict",
)
_STREAMS: Final = tuple(
    f"{path}/{verb}"
    for path in (_MODELS, f"{_MODELS}/versions/{{version}}")
    for verb in ("generate", "generate_stream", "infer_stream")
)


def build_application(served: Served, predict: Predict | None = None) -> FastAPI:
    """`predict` answers what the routes of predictions are asked, or None for a path that is not its own. Where
    predictions never come here, as they are answered before, only wrong names and methods are left to refuse."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    _add_error_handlers(app, served.name)
    _add_predictions(app, served.name, predict)
    add_about(app, served)
    add_swagger(app, served)
    return app


def _add_predictions(app: FastAPI, name: str, predict: Predict | None) -> None:
    async def answer(request: Request) -> Response:
        response = None if predict is None else await predict(request)
        if response is None:
            check_model(request, name)
            raise HTTPException(404)
        return response

    async def refuse_method(request: Request) -> NoReturn:
        raise HTTPException(405, headers={"Allow": "POST"})

    async def refuse_verb(request: Request) -> NoReturn:
        check_model(request, name)
        raise ApiError(
            501, "not_supported", f"Model {name!r} answers :predict, not :{request.path_params['verb'][:40]}."
        )

    async def refuse_stream(request: Request) -> NoReturn:
        check_model(request, name)
        raise ApiError(
            501, "not_streaming", f"Model {name!r} gives its answer at once, not as a stream. Ask {_MODELS}/infer."
        )

    for path in _PREDICTIONS:
        app.add_route(path, answer, methods=["POST"])
        app.add_route(path, refuse_method, methods=READ)
    app.add_route(VERIFY_PATH, refuse_method, methods=READ)
    for path in ("/v1/models/{model}:{verb}", "/v1/models/{model}/versions/{version}:{verb}"):
        app.add_route(path, refuse_verb, methods=["POST"])
    for path in _STREAMS:
        app.add_route(path, refuse_stream, methods=["POST"])


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
