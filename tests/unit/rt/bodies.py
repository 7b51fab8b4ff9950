"""Bodies of requests, made and read."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slipway_runtime.models.datatypes import Array
from slipway_runtime.protocol.codec import Payload
from slipway_runtime.protocol.errors import ApiError

ROWS = np.array([[1, 2], [3, 4]], np.float32)
Y = np.array([[0.5, 1, 2], [3, 4, 5]], np.float32)
RGB = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)


def joined(payload: Payload) -> bytes:
    return b"".join(payload.parts)


def npy(array: Array, **options: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def png(pixels: Array, mode: str | None = None, format_: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, format_, **options) if mode else Image.fromarray(pixels).save(
        file, format_, **options
    )
    return file.getvalue()


def form(*parts: tuple[str, str, bytes]) -> tuple[bytes, bytes]:
    """Content-Type and body; each part has further headers and content."""
    lines = [
        b"--cut\r\nContent-Disposition: form-data; name=%s\r\n\r\n%s\r\n" % ((name + headers).encode(), body)
        for name, headers, body in parts
    ]
    return b"multipart/form-data; boundary=cut", b"".join(lines) + b"--cut--\r\n"


def refused(decode: Any, status: int, code: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        decode()
    assert (caught.value.status, caught.value.code) == (status, code), caught.value.message
    return caught.value
