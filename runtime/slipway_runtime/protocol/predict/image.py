"""Images to tensors.

The input's shape without its batch says how: [C, H, W] or [H, W, C] with 1 (grey), 3 (RGB) or 4 (RGBA) channels, or
[H, W] for grey. Where H and W are given, the image is resized to them (bilinear, the whole image, without regard to its
proportions); where they are open it keeps its size. UINT8 inputs get 0 to 255, floats 0 to 1. Images are turned as
their EXIF orientation says; of several frames the first counts.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models.datatypes import FLOATS, Array
from slipway_runtime.protocol.codec import Buffer
from slipway_runtime.protocol.errors import ApiError, bad_request
from slipway_runtime.protocol.tensors import narrow

MAX_PIXELS: Final = 2**25
"""33 million: a larger image would take hundreds of megabytes while it is decoded."""
FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")

_MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}
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


@dataclass(frozen=True, slots=True)
class ImageForm:
    """How one image becomes one item of an input."""

    channels: int
    channels_first: bool
    flat: bool
    """Grey without a dimension for it."""
    height: int
    width: int
    """-1: the image's own."""


def image_form(spec: TensorSpec) -> ImageForm:
    """Raises `ApiError` when the input is none that takes images."""
    if spec.datatype is not Datatype.UINT8 and spec.datatype not in FLOATS:
        raise _unfit(spec, "its elements are neither UINT8 nor floats")
    item = spec.shape[1:] if spec.shape[:1] == [-1] or len(spec.shape) == 4 else spec.shape
    if len(spec.shape) == 4 and spec.shape[0] not in (-1, 1):
        raise _unfit(spec, f"it takes {spec.shape[0]} images at once")
    if len(item) == 2:
        return ImageForm(1, False, True, item[0], item[1])
    if len(item) != 3:
        raise _unfit(spec, f"an item has {len(item)} dimensions")
    first, last = item[0] in _MODES, item[2] in _MODES
    if first == last:
        raise _unfit(spec, "no dimension is clearly that of 1, 3 or 4 channels")
    if first:
        return ImageForm(item[0], True, False, item[1], item[2])
    return ImageForm(item[2], False, False, item[0], item[1])


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
        return np.ascontiguousarray(pixels, np.float32) / np.float32(255)
    return narrow(spec.datatype, np.ascontiguousarray(pixels, np.float64) / 255)[0]


def _decode(name: str, form: ImageForm, body: Buffer) -> Array:
    """[H, W] or [H, W, C] of UINT8."""
    mode = _MODES[form.channels]
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


def _unfit(spec: TensorSpec, why: str) -> ApiError:
    return bad_request(
        "not_an_image_input",
        f"Input {spec.name!r} {spec.datatype} {spec.shape} takes no images: {why}. Expected UINT8 or a float, and"
        " [C, H, W], [H, W, C] or [H, W] behind the batch. Send an array instead, as JSON or application/x-npy.",
        input=spec.name,
    )
