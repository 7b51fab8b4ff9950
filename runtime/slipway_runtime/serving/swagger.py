"""Swagger UI for the model at /docs, from files of a package: a cluster without a way out shows it as well."""

from __future__ import annotations

from importlib import resources
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import RedirectResponse

from slipway_runtime.serving.about import READ, Served
from slipway_runtime.serving.exchange import json_response
from slipway_runtime.serving.openapi import build_openapi
from slipway_runtime.version import runtime_version

_PACKAGE: Final = "fastapi_swagger.resources"
_SCRIPT: Final = "swagger-ui-bundle.js"
_STYLE: Final = "swagger-ui.css"
_ICON: Final = "favicon-32x32.png"
_TYPES: Final = {_SCRIPT: "text/javascript", _STYLE: "text/css", _ICON: "image/png"}
_CACHED: Final = {"Cache-Control": "max-age=86400"}


def add_swagger(app: FastAPI, served: Served) -> None:
    document = build_openapi(served.name, served.loaded.signature, runtime_version())

    async def show_openapi(request: Request) -> Response:
        return json_response({**document, "servers": [{"url": _root(request) or "/"}]})

    async def show_docs(request: Request) -> Response:
        root = _root(request)
        return get_swagger_ui_html(
            openapi_url=f"{root}/openapi.json",
            title=f"{served.name} - Slipway",
            swagger_js_url=f"{root}/docs/{_SCRIPT}",
            swagger_css_url=f"{root}/docs/{_STYLE}",
            swagger_favicon_url=f"{root}/docs/{_ICON}",
        )

    async def show_file(request: Request) -> Response:
        name = request.url.path.rpartition("/")[2]
        # Read for each request: a page that few open must not take memory for good.
        content = resources.files(_PACKAGE).joinpath(name).read_bytes()
        return Response(content, media_type=_TYPES[name], headers=_CACHED)

    async def show_root(request: Request) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            return json_response({"status": "alive"})  # what version 1 calls liveness
        return RedirectResponse(f"{_root(request)}/docs", status_code=307)

    app.add_route("/openapi.json", show_openapi, methods=READ)
    app.add_route("/docs", show_docs, methods=READ)
    for name in _TYPES:
        app.add_route(f"/docs/{name}", show_file, methods=READ)
    app.add_route("/", show_root, methods=READ)


def _root(request: Request) -> str:
    root: str = request.scope.get("root_path", "")
    return root
