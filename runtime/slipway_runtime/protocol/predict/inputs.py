"""One input from one body or part of a form, by its media type."""

from __future__ import annotations

from typing import Final

import numpy as np

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.codec import Buffer
from slipway_runtime.protocol.errors import bad_request
from slipway_runtime.protocol.jsontext import parse
from slipway_runtime.protocol.mediatypes import OCTET_STREAM, is_json, media_type, unsupported
from slipway_runtime.protocol.predict.multipart import Part, read_parts
from slipway_runtime.protocol.predict.nested import decode_lists
from slipway_runtime.protocol.predict.npy import MAGIC, decode_npy
from slipway_runtime.protocol.raw import decode_one_item
from slipway_runtime.protocol.tensors import check_batch, check_complete, find_input

NPY: Final = frozenset({b"application/x-npy", b"application/npy", b"application/x-numpy"})
MULTIPART: Final = b"multipart/form-data"
_TAKEN: Final = (
    "application/json, application/x-npy, application/octet-stream, image/png, image/jpeg, image/webp, image/gif,"
    " image/bmp or multipart/form-data"
)


def decode_input(spec: TensorSpec, name: bytes, body: Buffer, batched: bool) -> Array:
    """`name` is the media type; not JSON and not a form. An input of BYTES takes any, as one element."""
    if name in NPY:
        return decode_npy(spec, body)
    if spec.datatype is Datatype.BYTES or name == OCTET_STREAM:
        return decode_one_item(spec, body, batched)
    if name.startswith(b"image/"):
        # Imported late: most models never see an image.
        from slipway_runtime.protocol.predict.image import decode_image

        return decode_image(spec, body)
    raise unsupported(name, _TAKEN)


def decode_form(content_type: bytes, body: Buffer, signature: Signature, max_depth: int) -> dict[str, Array]:
    """One part for each input; several parts of one name are items of one batch, in their order."""
    found: dict[str, list[Array]] = {}
    for position, part in enumerate(read_parts(content_type, body)):
        if part.name is None:
            raise bad_request(
                "invalid_multipart", f"Part {position} of the form has no name, expected the name of an input."
            )
        spec = find_input(signature, part.name)
        found.setdefault(spec.name, []).append(_decode_part(spec, part, signature.batched, max_depth))
    arrays = {name: _together(name, parts, signature.batched) for name, parts in found.items()}
    check_complete(signature, arrays)
    check_batch(signature, arrays)
    return arrays


def _decode_part(spec: TensorSpec, part: Part, batched: bool, max_depth: int) -> Array:
    body = part.body
    name = media_type(part.content_type)
    if name == OCTET_STREAM and part.filename.endswith(b".npy") and body.startswith(MAGIC):
        return decode_npy(spec, body)
    if not name or is_json(name):
        return decode_lists(spec, parse(body, max_depth))
    return decode_input(spec, name, body, batched)


def _together(name: str, parts: list[Array], batched: bool) -> Array:
    if len(parts) == 1:
        return parts[0]
    if not batched:
        raise bad_request(
            "duplicate_input",
            f"Input {name!r} is given {len(parts)} times, and has no batch to put them in.",
            input=name,
        )
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) > 1:
        raise bad_request(
            "shape_mismatch",
            f"Input {name!r}: its parts have items of different shapes {sorted(map(list, shapes))}, expected one.",
            input=name,
        )
    return np.concatenate(parts)
