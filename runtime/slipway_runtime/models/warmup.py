"""The predictions a model must answer before it serves, and what they teach about its outputs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import numpy as np

from slipway_runtime.contract import Datatype, TensorSpec, WarmupSample
from slipway_runtime.models.datatypes import NUMPY, Array, datatype_of
from slipway_runtime.models.model import Model, PredictionError
from slipway_runtime.models.signature import Signature, describe_tensor, fits

_SEED: Final = 20240229
_REPEATS: Final = 2
"""TorchScript profiles the first run and optimises the second; a client should meet neither."""
_FLOATS: Final = (Datatype.FP16, Datatype.FP32, Datatype.FP64)

log = logging.getLogger(__name__)

Shapes = Mapping[str, Sequence[int]]


class WarmUpError(Exception):
    """A prediction on generated values failed; the message has the shapes and the cause."""


def warm_up(model: Model, samples: Sequence[WarmupSample]) -> Signature:
    """Predict on generated values; returns the signature with its outputs. Raises `WarmUpError`."""
    signature = model.signature
    requests = plan_requests(signature, samples or model.warmup_samples)
    seen = [_predict(model, signature, shapes) for shapes in requests for _ in range(_REPEATS)]
    if signature.batched:
        seen.append(_probe_batch(model, signature, requests[0]))
    if signature.outputs:
        for outputs in seen:
            _check_outputs(signature.outputs, outputs)
        return signature
    grown = _grow(signature, requests[0])
    if grown:
        # Sizes apart from the batch may have bounds that nothing tells, so a failure here means nothing.
        with suppress(WarmUpError):
            seen.append(_predict(model, signature, grown))
    return Signature(signature.inputs, _learn_outputs(seen))


def _probe_batch(model: Model, signature: Signature, shapes: Shapes) -> dict[str, Array]:
    size = 2 * max(shape[0] for shape in shapes.values())
    try:
        return _predict(model, signature, {name: [size, *shape[1:]] for name, shape in shapes.items()})
    except WarmUpError as error:
        raise WarmUpError(
            f"{error} A smaller batch was answered, but the signature gives the batch as -1, which promises any size."
            " Write the size instead of -1 if the model takes no other."
        ) from error


def _grow(signature: Signature, shapes: Shapes) -> dict[str, list[int]] | None:
    """Every size that varies doubled, apart from the batch; None when there is none."""
    first = 1 if signature.batched else 0
    grown = {
        spec.name: [
            2 * size if wanted == -1 and position >= first else size
            for position, (wanted, size) in enumerate(zip(spec.shape, shapes[spec.name], strict=True))
        ]
        for spec in signature.inputs
    }
    return grown if grown != shapes else None


def plan_requests(signature: Signature, samples: Sequence[WarmupSample]) -> list[dict[str, list[int]]]:
    """The shapes of each request, with 1 for every size that varies."""
    if not samples:
        return [{spec.name: _smallest(spec) for spec in signature.inputs}]
    known = {spec.name: spec for spec in signature.inputs}
    requests = []
    for position, sample in enumerate(samples, start=1):
        given = {spec.name: spec for spec in sample.inputs}
        if set(given) != set(known):
            raise WarmUpError(
                f"Warm-up sample {position} has the inputs {sorted(given)}, the model takes {sorted(known)}."
            )
        for spec in sample.inputs:
            expected = known[spec.name]
            if spec.datatype != expected.datatype or not fits(expected, _smallest(spec)):
                raise WarmUpError(
                    f"Warm-up sample {position} has {describe_tensor(spec)}, the model takes"
                    f" {describe_tensor(expected)}."
                )
        requests.append({name: _smallest(spec) for name, spec in given.items()})
    return requests


def _smallest(spec: TensorSpec) -> list[int]:
    return [1 if size == -1 else size for size in spec.shape]


def _predict(model: Model, signature: Signature, shapes: Shapes) -> dict[str, Array]:
    generator = np.random.default_rng(_SEED)
    inputs = {spec.name: generate(spec.datatype, shapes[spec.name], generator) for spec in signature.inputs}
    try:
        outputs = model.predict(inputs)
    except PredictionError as error:
        shown = ", ".join(f"{spec.name} {spec.datatype} {list(shapes[spec.name])}" for spec in signature.inputs)
        raise WarmUpError(f"The model failed on generated values ({shown}): {error}") from error
    if not outputs:
        raise WarmUpError("The model gave no output.")
    return outputs


def generate(datatype: Datatype, shape: Sequence[int], generator: np.random.Generator) -> Array:
    """Floats are normally distributed; integers are 0, which every vocabulary and every index range has."""
    if datatype in _FLOATS:
        return generator.standard_normal(tuple(shape)).astype(NUMPY[datatype])
    return np.zeros(tuple(shape), NUMPY[datatype])


def _check_outputs(declared: Sequence[TensorSpec], outputs: Mapping[str, Array]) -> None:
    for spec in declared:
        array = outputs[spec.name]
        if datatype_of(array) != spec.datatype or not fits(spec, array.shape):
            raise WarmUpError(
                f"The model gave {spec.name} {datatype_of(array)} {list(array.shape)}, its signature says"
                f" {describe_tensor(spec)}. Save the archive with the outputs that it really has."
            )


def _learn_outputs(seen: Sequence[Mapping[str, Array]]) -> tuple[TensorSpec, ...]:
    """Sizes that differed between the requests vary; so does the first one whenever it followed the batch."""
    specs = []
    first, *others = seen
    for name, array in first.items():
        shape = list(array.shape)
        for outputs in others:
            other = outputs.get(name)
            if other is None or other.ndim != array.ndim or other.dtype != array.dtype:
                raise WarmUpError(f"Output {name!r} changes its element type or number of dimensions between requests.")
            shape = [size if size == same else -1 for size, same in zip(shape, other.shape, strict=True)]
        datatype = datatype_of(array)
        if datatype is None:
            raise WarmUpError(f"Output {name!r} is {array.dtype}, which the protocol cannot carry.")
        specs.append(TensorSpec(name=name, datatype=datatype, shape=shape))
    return tuple(specs)
