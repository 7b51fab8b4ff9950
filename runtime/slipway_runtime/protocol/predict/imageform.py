"""Which inputs take images, and how one becomes an item of them.

The input's shape without its batch says how: [C, H, W] or [H, W, C] with 1 (grey), 3 (RGB) or 4 (RGBA) channels, or
[H, W] for grey. Where H and W are given, the image is resized to them (bilinear, the whole image, without regard to its
proportions); where they are open it keeps its size. UINT8 inputs get 0 to 255, floats 0 to 1. Images are turned as
their EXIF orientation says; of several frames the first counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models.datatypes import FLOATS
from slipway_runtime.protocol.errors import ApiError, bad_request

MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}
"""Channels to pillow's word for them."""


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
    first, last = item[0] in MODES, item[2] in MODES
    if first == last:
        raise _unfit(spec, "no dimension is clearly that of 1, 3 or 4 channels")
    if first:
        return ImageForm(item[0], True, False, item[1], item[2])
    return ImageForm(item[2], False, False, item[0], item[1])


def is_image_input(spec: TensorSpec) -> bool:
    try:
        image_form(spec)
    except ApiError:
        return False
    return True


def _unfit(spec: TensorSpec, why: str) -> ApiError:
    return bad_request(
        "not_an_image_input",
        f"Input {spec.name!r} {spec.datatype} {spec.shape} takes no images: {why}. Expected UINT8 or a float, and"
        " [C, H, W], [H, W, C] or [H, W] behind the batch. Send an array instead, as JSON or application/x-npy.",
        input=spec.name,
    )
