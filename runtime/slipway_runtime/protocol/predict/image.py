"""Images to tensors, as `imageform` says; bounded in pixels, and read by few, well-known decoders."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models.datatypes import Array
from slipway_runtime.protocol.codec import Buffer
from slipway_runtime.protocol.errors import ApiError, bad_request
from slipway_runtime.protocol.predict.imageform import MODES, ImageForm, image_form
from slipway_runtime.protocol.tensors import narrow

MAX_PIXELS: Final = 2**24
"""16 million. As FP32 they are 200 MB, which a few kilobytes of PNG can ask for."""
FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")

_BROKEN: Final = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    AttributeError,
    NotImplementedError,
)
"""What pillow's decoders raise for files that are damaged."""

# The limit here is stricter, and has an answer instead of a warning on stderr.
Image.MAX_IMAGE_PIXELS = None
# Damaged tags and odd palettes are the client's. Its files do not write into our log.
warnings.filterwarnings("ignore", module=r"PIL\.")


def decode_image(spec: TensorSpec, body: Buffer) -> Array:
    """One image as a tensor of `spec`, with a batch of one where there is a batch. Raises `ApiError`."""
    form = image_form(spec)
    pixels = _decode(spec.name, form, body)
    if not form.flat:
        pixels = pixels.reshape(pixels.shape[0], pixels.shape[1], form.channels)
        if form.channels_first:
            pixels = pixels.transpose(2, 0, 1)
    if len(spec.shape) > pixels.ndim:
        pixels = pixels[np.newaxis]
    if spec.datatype is Datatype.UINT8:
        return np.ascontiguousarray(pixels)
    if spec.datatype is Datatype.FP32:
        return np.divide(pixels, np.float32(255), out=np.empty(pixels.shape, np.float32))
    return narrow(spec.datatype, np.ascontiguousarray(pixels, np.float64) / 255)[0]


def _decode(name: str, form: ImageForm, body: Buffer) -> Array:
    """[H, W] or [H, W, C] of UINT8."""
    mode = MODES[form.channels]
    try:
        with Image.open(BytesIO(body), formats=FORMATS) as image:
            _check_size(name, image.size)
            wanted = (form.width, form.height)
            if -1 not in wanted and image.format == "JPEG" and image.getexif().get(0x0112, 1) == 1:
                image.draft(mode, wanted)  # a large photograph is decoded no finer than it is needed
            upright = ImageOps.exif_transpose(image).convert(mode)
            size = tuple(own if want == -1 else want for want, own in zip(wanted, upright.size, strict=True))
            if size != upright.size:
                _check_size(name, size)
                upright = upright.resize((size[0], size[1]), Image.Resampling.BILINEAR)
            return np.asarray(upright)
    except ApiError:
        raise
    except _BROKEN as error:
        detail = "of another format" if isinstance(error, UnidentifiedImageError) else str(error)[:200]
        raise bad_request(
            "invalid_image",
            f"Input {name!r}: the body cannot be read as an image ({detail}). Expected {', '.join(FORMATS)}.",
            input=name,
        ) from None


def _check_size(name: str, size: Sequence[int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise ApiError(
            413,
            "image_too_large",
            f"Input {name!r}: the image has {width} x {height} pixels, at most {MAX_PIXELS} are taken.",
        )
