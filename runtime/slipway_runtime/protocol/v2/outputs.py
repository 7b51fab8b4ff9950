"""Which outputs a request asks for, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models.signature import Signature
from slipway_runtime.protocol.errors import bad_request
from slipway_runtime.protocol.jsontext import a_kind_of, shown
from slipway_runtime.protocol.v2.form import BINARY_FORM, JSON_FORM, Form, OutputForm

_SHARED_MEMORY: Final = "shared_memory_region"
_UNRANKED: Final = frozenset({Datatype.BYTES, Datatype.BOOL})


def read_outputs(given: object, parameters: Mapping[str, Any], signature: Signature) -> tuple[tuple[str, ...], Form]:
    """`parameters` are the request's: its `binary_data_output` holds for outputs that do not say."""
    usual = BINARY_FORM if _flag(parameters, "binary_data_output", "the request") else JSON_FORM
    if given is None or given == []:
        names = tuple(spec.name for spec in signature.outputs)
        return names, (usual,) * len(names) if usual.binary else None
    if not isinstance(given, list):
        raise bad_request("invalid_field", f"'outputs' is {a_kind_of(given)}, expected a list.")
    known = {spec.name: spec for spec in signature.outputs}
    forms: dict[str, OutputForm] = {}
    for position, output in enumerate(given):
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str):
            raise bad_request("invalid_field", f"outputs[{position}] has no 'name', expected an object with one.")
        if name not in known:
            raise bad_request("unknown_output", f"There is no output {name[:100]!r}. The model gives: {list(known)}.")
        if name in forms:
            raise bad_request("duplicate_output", f"Output {name!r} is asked for twice.")
        forms[name] = _read_form(output, known[name], usual)
    return tuple(forms), tuple(forms.values()) if any(form != JSON_FORM for form in forms.values()) else None


def _read_form(output: Mapping[str, Any], spec: TensorSpec, usual: OutputForm) -> OutputForm:
    where = f"output {spec.name!r}"
    parameters = output.get("parameters")
    if parameters is None:
        return usual
    if not isinstance(parameters, dict):
        raise bad_request("invalid_field", f"parameters of {where}: got {a_kind_of(parameters)}, expected an object.")
    if _SHARED_MEMORY in parameters:
        raise bad_request(
            "not_supported", f"{where.capitalize()} names a shared memory region, which is not supported."
        )
    binary = _flag(parameters, "binary_data", where) if "binary_data" in parameters else usual.binary
    return OutputForm(binary, _classes(parameters, spec))


def _classes(parameters: Mapping[str, Any], spec: TensorSpec) -> int:
    classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise bad_request(
            "invalid_field",
            f"parameters of output {spec.name!r}: classification is {shown(classes)!r}, expected how many of the"
            " greatest values to answer with.",
        )
    if classes and spec.datatype in _UNRANKED:
        raise bad_request(
            "not_supported", f"Output {spec.name!r} is {spec.datatype}, which has no greatest values to classify by."
        )
    return classes


def _flag(parameters: Mapping[str, Any], name: str, where: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise bad_request(
            "invalid_field", f"parameters of {where}: {name} is {a_kind_of(value)}, expected true or false."
        )
    return value
