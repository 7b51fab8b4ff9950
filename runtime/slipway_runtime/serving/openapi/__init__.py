"""The OpenAPI document of one model: its real inputs and outputs, with examples that the model answers. Pure."""

from slipway_runtime.serving.openapi.document import build_openapi

__all__ = ["build_openapi"]
