"""The predictions a model must answer before it serves, and what they teach about its outputs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import numpy as np

from slipway_runtime.contract import Datatype, TensorSpec, WarmupSample
from slipway_runtime.models.bfloat16 import to_bits
from slipway_runtime.models.datatypes import FLOATS, NUMPY, Array, datatype_of
from slipway_runtime.models.model import Model, PredictionError
from slipway_runtime.models.signature import Signature, describe_tensor, fits

_SEED: Final = 20240229
_REPEATS: Final = 2
"""TorchScript profiles the first run and optimises the second; a client should meet neither."""

log = logging.getLogger(__name__)

Shapes = Mapping[str, Sequence[int]]
Described = Mapping[str, TensorSpec]
"""Outputs of one prediction: names, element types and the shapes they had."""


class WarmUpError(Exception):
    """A prediction on generated values failed; the message has the shapes and the cause."""


class _RefusalError(WarmUpError):
    """The model's own check refused the generated values, which says nothing about real ones."""


def warm_up(model: Model, samples: Sequence[WarmupSample]) -> Signature:
    """Predict on generated values; returns the signature with its outputs. Raises `WarmUpError`."""
    signature = model.signature
    requests = plan_requests(signature, samples or model.warmup_samples)
    try:
        seen = [_predict(model, signature, shapes) for shapes in requests for _ in range(_REPEATS)]
        if signature.batched:
            seen.append(_probe_batch(model, signature, requests[0]))
    except _RefusalError as refusal:
        if not signature.outputs:
            message = f"{refusal} What it gives can then only be known from the outputs of its signature."
            raise WarmUpError(message) from refusal
        log.warning("%s It is served without a warm-up.", refusal)
        return signature
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


def _probe_batch(model: Model, signature: Signature, shapes: Shapes) -> Described:
    size = 2 * max(shape[0] for shape in shapes.values())
    try:
        return _predict(model, signature, {name: [size, *shape[1:]] for name, shape in shapes.items()})
    except _RefusalError:
        raise
    except WarmUpError as error:
        raise WarmUpError(
            f"{error} A smaller batch was answered, but the signature gives the batch as -1, which promises any size."
            " Write the size instead of -1 if the model takes no other."
        ) from error


def _grow(signature: Signature, shapes: Shapes) -> dict[str, list[int]] | None:
    """Every size that varies doubled, apart from the batch; None when there is none."""
    grown = grow(signature, shapes, 2)
    return grown if grown != shapes else None


def grow(signature: Signature, shapes: Shapes, factor: int) -> dict[str, list[int]]:
    """Every size that varies multiplied, apart from the batch."""
    first = 1 if signature.batched else 0
    return {
        spec.name: [
            factor * size if wanted == -1 and position >= first else size
            for position, (wanted, size) in enumerate(zip(spec.shape, shapes[spec.name], strict=True))
        ]
        for spec in signature.inputs
    }


def plan_requests(signature: Signature, samples: Sequence[WarmupSample]) -> list[dict[str, list[int]]]:
    """The shapes of each request, with 1 for every size that varies. Raises `WarmUpError`."""
    if not samples:
        return [{spec.name: _smallest(spec) for spec in signature.inputs}]
    known = {spec.name: spec for spec in signature.inputs}
    requests = []
    for position, sample in enumerate(samples, start=1):
        given = {spec.name: spec for spec in sample.inputs}
        if set(given) != set(known):
            raise WarmUpError(
                f"Warm-up sample {position} has the inputs {', '.join(sorted(given))}, the model takes"
                f" {', '.join(sorted(known))}. Correct spec.runtime.warmup."
            )
        for spec in sample.inputs:
            expected = known[spec.name]
            if spec.datatype != expected.datatype or not fits(expected, _smallest(spec)):
                raise WarmUpError(
                    f"Warm-up sample {position} has {describe_tensor(spec)}, the model takes"
                    f" {describe_tensor(expected)}. Correct spec.runtime.warmup."
                )
        requests.append({name: _smallest(spec) for name, spec in given.items()})
    return requests


def _smallest(spec: TensorSpec) -> list[int]:
    return [1 if size == -1 else size for size in spec.shape]


def _predict(model: Model, signature: Signature, shapes: Shapes) -> Described:
    inputs = make_inputs(model, signature, shapes)
    try:
        outputs = model.predict(inputs)
    except PredictionError as error:
        shown = ", ".join(f"{spec.name} {spec.datatype} {list(shapes[spec.name])}" for spec in signature.inputs)
        said = error.detail or error
        if error.status < 500:
            raise _RefusalError(f"The model refused generated values ({shown}): {said}") from error
        raise WarmUpError(f"The model failed on generated values ({shown}): {said}") from error
    if not outputs:
        raise WarmUpError("The model gave no output.")
    return {name: _describe(name, array, model.output_datatypes.get(name)) for name, array in outputs.items()}


def _describe(name: str, array: Array, told: Datatype | None) -> TensorSpec:
    datatype = told or datatype_of(array)
    if datatype is None:
        raise WarmUpError(f"Output {name!r} is {array.dtype}, which the protocol cannot carry.")
    return TensorSpec(name=name, datatype=datatype, shape=list(array.shape))


def make_inputs(model: Model, signature: Signature, shapes: Shapes) -> dict[str, Array]:
    """A request of these shapes: the model's own example as often as it takes, or generated values."""
    example = model.example
    if example is not None:
        if not signature.batched:
            return dict(example)
        return {name: np.repeat(row, shapes[name][0], axis=0) for name, row in example.items()}
    generator = np.random.default_rng(_SEED)
    return {spec.name: generate(spec.datatype, shapes[spec.name], generator) for spec in signature.inputs}


def generate(datatype: Datatype, shape: Sequence[int], generator: np.random.Generator) -> Array:
    """Floats are normally distributed; integers are 0, which every vocabulary and every index range has; BYTES are
    empty."""
    if datatype is Datatype.BYTES:
        return np.full(tuple(shape), b"", np.object_)
    if datatype is Datatype.BF16:
        return to_bits(generator.standard_normal(tuple(shape)))
    if datatype in FLOATS:
        return generator.standard_normal(tuple(shape)).astype(NUMPY[datatype])
    return np.zeros(tuple(shape), NUMPY[datatype])


def _check_outputs(declared: Sequence[TensorSpec], outputs: Described) -> None:
    for spec in declared:
        given = outputs[spec.name]
        if given.datatype != spec.datatype or not fits(spec, given.shape):
            raise WarmUpError(
                f"The model gave {describe_tensor(given)}, its signature says {describe_tensor(spec)}. Save the"
                " archive with the outputs that it really has."
            )


def _learn_outputs(seen: Sequence[Described]) -> tuple[TensorSpec, ...]:
    """Sizes that differed between the requests vary; so does the first one whenever it followed the batch."""
    specs = []
    first, *others = seen
    for name, spec in first.items():
        shape = spec.shape
        for outputs in others:
            other = outputs.get(name)
            if other is None or len(other.shape) != len(spec.shape) or other.datatype != spec.datatype:
                raise WarmUpError(f"Output {name!r} changes its element type or number of dimensions between requests.")
            shape = [size if size == same else -1 for size, same in zip(shape, other.shape, strict=True)]
        specs.append(TensorSpec(name=name, datatype=spec.datatype, shape=shape))
    return tuple(specs)
