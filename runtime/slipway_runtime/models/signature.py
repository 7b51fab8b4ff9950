"""What a model takes and gives: names, element types and shapes, with -1 for sizes that vary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from slipway_runtime.contract import TensorSpec, WarmupSample


class SignatureError(ValueError):
    """The signature contradicts itself. The message says where and what is expected."""


@dataclass(frozen=True)
class Signature:
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...] = ()
    """Empty when the artifact does not say; the warm-up finds out."""

    @property
    def batched(self) -> bool:
        """Whether the first dimension of every input is the batch, of any size."""
        return all(spec.shape and spec.shape[0] == -1 for spec in self.inputs)

    def describe(self) -> str:
        """For logs and errors, for example `image FP32 [-1, 1, 8, 8]`."""
        return ", ".join(describe_tensor(spec) for spec in self.inputs)


def describe_tensor(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.datatype} {list(spec.shape)}"


def fits(spec: TensorSpec, shape: Sequence[int]) -> bool:
    """Whether a tensor of `shape` is what `spec` describes."""
    return len(shape) == len(spec.shape) and all(
        wanted in (-1, size) for wanted, size in zip(spec.shape, shape, strict=True)
    )


def check_signature(signature: Signature) -> None:
    if not signature.inputs:
        raise SignatureError("inputs: got an empty list, expected at least one input.")
    for part, specs in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        twice = _first_repeated(spec.name for spec in specs)
        if twice is not None:
            raise SignatureError(f"{part}: the name {twice!r} appears twice, expected each name once.")


def signature_from_samples(samples: Sequence[WarmupSample]) -> Signature:
    """Sizes in which the samples differ become -1. Raises `SignatureError` where they contradict each other."""
    first, *others = samples
    specs = list(first.inputs)
    for position, sample in enumerate(others, start=2):
        by_name = {spec.name: spec for spec in sample.inputs}
        if set(by_name) != {spec.name for spec in specs}:
            raise SignatureError(
                f"warmupSamples: sample {position} has the inputs {sorted(by_name)}, sample 1 has"
                f" {sorted(spec.name for spec in specs)}. Expected the same names in every sample."
            )
        specs = [_merge(spec, by_name[spec.name], position) for spec in specs]
    signature = Signature(tuple(specs))
    check_signature(signature)
    return signature


def _merge(known: TensorSpec, other: TensorSpec, position: int) -> TensorSpec:
    if known.datatype != other.datatype or len(known.shape) != len(other.shape):
        raise SignatureError(
            f"warmupSamples: sample {position} has {describe_tensor(other)}, the ones before it"
            f" {describe_tensor(known)}. Expected the same element type and number of dimensions in every sample."
        )
    shape = [size if size == same else -1 for size, same in zip(known.shape, other.shape, strict=True)]
    return known.model_copy(update={"shape": shape})


def _first_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
