"""Messages of the gRPC protocol to arrays and back, and the protocol itself against the one its clients bring."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2, service_pb2

from slipway_runtime.contract import Datatype, TensorSpec
from slipway_runtime.models.datatypes import BYTES_ARRAY, NUMPY, Array
from slipway_runtime.protocol.errors import ApiError
from slipway_runtime.rpc.codec import GrpcCodec
from slipway_runtime.rpc.messages import METHODS, POOL, SERVICE
from slipway_runtime.rpc.proto.generate import GENERATED, generate
from slipway_runtime.rpc.status import CODES, code_of, details_of, metadata_of
from slipway_runtime.rpc.wire import append, take_out, varint
from tests.unit.rt.rpcserver import echo_signature

pytestmark = pytest.mark.unit

SOME = settings(max_examples=80, deadline=None)
REQUESTS = st.builds(
    service_pb2.ModelInferRequest,
    model_name=st.text(max_size=8),
    model_version=st.text(max_size=3),
    id=st.text(max_size=200),
    raw_input_contents=st.lists(st.binary(max_size=300), max_size=4),
    inputs=st.lists(
        st.builds(
            service_pb2.ModelInferRequest.InferInputTensor,
            name=st.text(max_size=4),
            shape=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
        ),
        max_size=3,
    ),
)


@SOME
@given(REQUESTS)
def test_tensors_are_taken_out_where_they_lie(request: Any) -> None:
    message = request.SerializeToString()
    split = take_out(message, 7)
    assert split is not None
    rest, taken = split
    assert [bytes(view) for view in taken] == list(request.raw_input_contents)
    request.ClearField("raw_input_contents")
    assert service_pb2.ModelInferRequest.FromString(rest) == request


@SOME
@given(st.binary(max_size=60))
def test_whatever_is_sent_is_a_request_or_refused(message: bytes) -> None:
    codec = GrpcCodec("m", echo_signature(TensorSpec(name="x", datatype=Datatype.FP32, shape=[-1, 2])))
    with pytest.raises(ApiError):
        codec.decode(message)


@SOME
@given(REQUESTS, st.integers(0, 400))
def test_a_message_that_is_cut_short_is_never_taken_for_whole(request: Any, length: int) -> None:
    message = request.SerializeToString()[:length]
    split = take_out(message, 7)
    if split is not None:
        rest, taken = split
        assert sum(map(len, taken)) + len(rest) <= len(message)


@given(st.integers(0, 2**63), st.lists(st.binary(max_size=300), max_size=3))
def test_tensors_are_appended_as_protobuf_reads_them(number: int, contents: list[bytes]) -> None:
    message = append(b"", 6, [memoryview(content) for content in contents])
    assert list(service_pb2.ModelInferResponse.FromString(message).raw_output_contents) == contents
    parameter = service_pb2.InferParameter.FromString(b"\x28" + varint(number))
    assert parameter.uint64_param == number


def test_the_generated_file_is_that_of_the_protocol_files() -> None:
    assert generate() == GENERATED.read_bytes()


def test_every_call_of_the_service_is_the_clients() -> None:
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    ours = POOL.FindServiceByName(SERVICE)
    assert tuple(method.name for method in theirs.methods) == METHODS
    for mine, other in zip(ours.methods, theirs.methods, strict=True):
        for name in ("input_type", "output_type"):
            assert getattr(mine, name).full_name == getattr(other, name).full_name
        assert (mine.client_streaming, mine.server_streaming) == (other.client_streaming, other.server_streaming)


def fields(message: DescriptorProto, path: str = "") -> dict[str, tuple[object, ...]]:
    """Every field by its path: number, kind, repetition, type and oneof."""
    path = f"{path}.{message.name}"
    found: dict[str, tuple[object, ...]] = {}
    for field in message.field:
        oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
        found[f"{path}.{field.name}"] = (field.number, field.type, field.label, field.type_name, oneof)
        assert field.type != FieldDescriptorProto.TYPE_GROUP
    for enum in message.enum_type:
        found |= {f"{path}.{enum.name}.{value.name}": (value.number,) for value in enum.value}
    for nested in message.nested_type:
        found |= fields(nested, path)
    return found


def described(file: Any) -> FileDescriptorProto:
    content = FileDescriptorProto()
    content.ParseFromString(file.serialized_pb)
    return content


def all_fields(file: Any) -> dict[str, tuple[object, ...]]:
    content = described(file)
    found: dict[str, tuple[object, ...]] = {}
    for message in content.message_type:
        found |= fields(message)
    for enum in content.enum_type:
        found |= {f".{enum.name}.{value.name}": (value.number,) for value in enum.value}
    return found


def test_every_field_has_the_clients_number_and_type() -> None:
    assert all_fields(POOL.FindFileByName("grpc_service.proto")) == all_fields(service_pb2.DESCRIPTOR)
    theirs = all_fields(model_config_pb2.DESCRIPTOR)
    ours = all_fields(POOL.FindFileByName("model_config.proto"))
    assert ours
    assert {name: theirs.get(name) for name in ours} == ours


def request_of(array: Array, datatype: str, *, raw: bool = True, name: str = "x", **more: Any) -> Any:
    request = service_pb2.ModelInferRequest(model_name="m", **more)
    tensor = request.inputs.add(name=name, datatype=datatype, shape=array.shape)
    if raw:
        request.raw_input_contents.append(array.tobytes())
        return request
    field = {"b": "bool", "f4": "fp32", "f8": "fp64", "i8": "int64", "u8": "uint64"}.get(array.dtype.str[1:])
    if field is None:
        field = {"b": "bool", "i": "int", "u": "uint", "O": "bytes"}[array.dtype.kind]
    getattr(tensor.contents, f"{field}_contents").extend(array.reshape(-1).tolist())
    return request


def open_spec(datatype: Datatype) -> TensorSpec:
    return TensorSpec(name="x", datatype=datatype, shape=[-1, 2])


NUMBERS = [datatype for datatype in NUMPY if datatype is not Datatype.BF16]


@pytest.mark.parametrize("datatype", list(NUMPY))
def test_raw_tensors_are_read_in_place_and_come_back(datatype: Datatype) -> None:
    codec = GrpcCodec("m", echo_signature(open_spec(datatype)))
    array = np.array([[0, 1], [1, 0]]).astype(NUMPY[datatype])
    message = request_of(array, datatype, id="call-1").SerializeToString()
    for _ in range(2):  # the second time by the plan of the first
        decoded = codec.decode(message)
        np.testing.assert_array_equal(decoded.inputs["x"], array)
        assert not decoded.inputs["x"].flags.owndata
        answer = service_pb2.ModelInferResponse.FromString(codec.encode(decoded, {"x_out": decoded.inputs["x"]}))
        assert (answer.model_name, answer.model_version, answer.id) == ("m", "1", "call-1")
        (output,) = answer.outputs
        assert (output.name, output.datatype, list(output.shape)) == ("x_out", str(datatype), [2, 2])
        assert answer.raw_output_contents[0] == array.tobytes()


@pytest.mark.parametrize("datatype", [datatype for datatype in NUMBERS if datatype is not Datatype.FP16])
def test_typed_contents_are_exact(datatype: Datatype) -> None:
    codec = GrpcCodec("m", echo_signature(open_spec(datatype)))
    dtype = NUMPY[datatype]
    if dtype.kind in "iu":
        array = np.array([[np.iinfo(dtype).min, np.iinfo(dtype).max]], dtype)
    elif dtype.kind == "f":
        array = np.array([[np.nan, np.finfo(dtype).tiny]], dtype)
    else:
        array = np.array([[True, False]])
    decoded = codec.decode(request_of(array, datatype, raw=False).SerializeToString())
    assert decoded.inputs["x"].dtype == dtype
    np.testing.assert_array_equal(decoded.inputs["x"], array)


def test_text_and_bytes_come_back_as_bytes() -> None:
    codec = GrpcCodec("m", echo_signature(open_spec(Datatype.BYTES)))
    array = np.empty((1, 2), BYTES_ARRAY)
    array[0] = [b"\xff\x00", "é".encode()]
    raw = b"".join(len(value).to_bytes(4, "little") + value for value in array[0])
    request = service_pb2.ModelInferRequest(model_name="m", raw_input_contents=[raw])
    request.inputs.add(name="x", datatype="BYTES", shape=(1, 2))
    for message in (request, request_of(array, "BYTES", raw=False)):
        decoded = codec.decode(message.SerializeToString())
        assert decoded.inputs["x"].tolist() == array.tolist()
        answer = service_pb2.ModelInferResponse.FromString(codec.encode(decoded, {"x_out": decoded.inputs["x"]}))
        assert answer.raw_output_contents[0] == raw


def test_parameters_and_wanted_outputs_are_heard() -> None:
    specs = tuple(TensorSpec(name=name, datatype=Datatype.FP32, shape=[-1, 2]) for name in ("x", "y"))
    codec = GrpcCodec("m", echo_signature(*specs))
    request = service_pb2.ModelInferRequest(model_name="m", model_version="1")
    for name in ("y", "x"):
        request.inputs.add(name=name, datatype="FP32", shape=(1, 2))
        request.raw_input_contents.append(np.array([len(request.inputs), 0], np.float32).tobytes())
    request.parameters["timeout"].int64_param = 250_000
    request.parameters["priority"].uint64_param = 1
    request.outputs.add(name="y_out").parameters["classification"].int64_param = 1
    request.outputs.add(name="x_out")
    for _ in range(2):
        decoded = codec.decode(request.SerializeToString())
        assert (decoded.timeout_seconds, decoded.priority, decoded.id) == (0.25, 1, None)
        assert decoded.inputs["y"].tolist() == [[1, 0]]
        assert decoded.inputs["x"].tolist() == [[2, 0]]
        outputs = {f"{name}_out": array for name, array in decoded.inputs.items()}
        answer = service_pb2.ModelInferResponse.FromString(codec.encode(decoded, outputs))
        assert [(output.name, output.datatype) for output in answer.outputs] == [("y_out", "BYTES"), ("x_out", "FP32")]
        assert answer.raw_output_contents[0] == b"\x05\x00\x00\x001.0:0"


def refused(codec: GrpcCodec, request: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        codec.decode(request.SerializeToString())
    return caught.value


X = np.array([[1.0, 2.0]], np.float32)


@pytest.mark.parametrize(
    ("change", "status", "code", "words"),
    [
        ({"model_name": "n"}, 404, "model_not_found", "there is no model 'n' here, expected 'm'."),
        ({"model_version": "7"}, 404, "version_not_found", "Model 'm' has no version '7', expected '1' or none."),
        ({"name": "y"}, 400, "unknown_input", "There is no input 'y'. The model takes: x FP32 [-1, 2]."),
        ({"datatype": "FP99"}, 400, "unknown_datatype", "got datatype 'FP99', expected one of BOOL"),
        ({"datatype": "FP64"}, 400, "datatype_mismatch", "Input 'x' has the datatype FP64, expected FP32."),
        ({"shape": [1, 3]}, 400, "shape_mismatch", "Input 'x' has the shape [1, 3], expected [-1, 2]"),
        ({"shape": [-1, 2]}, 400, "invalid_field", "shape holds '-1', expected a list of at most 16 integers"),
        ({"shape": [4, 2]}, 400, "size_mismatch", "Input 'x' has 8 bytes, its shape [4, 2] needs 32"),
        ({"raw": [b"", b""]}, 400, "size_mismatch", "raw_input_contents has 2 entries, expected one for each of the 1"),
        ({"raw": []}, 400, "size_mismatch", "Input 'x' has 0 bytes, its shape [1, 2] needs 8"),
        ({"contents": [1.0]}, 400, "invalid_field", "contents beside the request's raw_input_contents"),
        ({"output": "z"}, 400, "unknown_output", "There is no output 'z'. The model gives: ['x_out']."),
        ({"shared": True, "raw": []}, 400, "not_supported", "Input 'x' names a shared memory region"),
        ({"shared": None}, 400, "size_mismatch", "raw_input_contents has 1 entries, expected one for each of the 0"),
        ({"shared": None, "raw": []}, 400, "not_supported", "Input 'x' names a shared memory region"),
        ({"timeout": -1}, 400, "invalid_field", "timeout is '-1', expected a whole number of 0 or more"),
    ],
)
def test_what_does_not_fit_is_named_as_over_rest(change: dict[str, Any], status: int, code: str, words: str) -> None:
    request = service_pb2.ModelInferRequest(
        model_name=change.get("model_name", "m"), model_version=change.get("model_version", "")
    )
    tensor = request.inputs.add(
        name=change.get("name", "x"), datatype=change.get("datatype", "FP32"), shape=change.get("shape", [1, 2])
    )
    request.raw_input_contents.extend(change.get("raw", [X.tobytes()]))
    tensor.contents.fp32_contents.extend(change.get("contents", []))
    if "shared" in change:
        named = tensor.parameters["shared_memory_region"]
        if change["shared"]:
            named.string_param = "region"
    if "timeout" in change:
        request.parameters["timeout"].int64_param = change["timeout"]
    if "output" in change:
        request.outputs.add(name=change["output"])
    error = refused(GrpcCodec("m", echo_signature(open_spec(Datatype.FP32))), request)
    assert (error.status, error.code) == (status, code)
    assert words in error.message


@pytest.mark.parametrize(
    ("datatype", "field", "values", "words"),
    [
        ("FP16", "fp32_contents", [1.0, 2.0], "FP16, which has no field in contents: send its bytes in raw_input"),
        ("FP32", "fp64_contents", [1.0, 2.0], "expected its values in fp32_contents, got fp64_contents"),
        ("INT8", "int_contents", [1, 128], "128 lies outside the range of INT8"),
        ("FP32", "fp32_contents", [1.0], "Input 'x' has 4 bytes, its shape [1, 2] needs 8"),
    ],
)
def test_typed_contents_must_be_the_datatypes(datatype: str, field: str, values: list[Any], words: str) -> None:
    request = service_pb2.ModelInferRequest(model_name="m")
    tensor = request.inputs.add(name="x", datatype=datatype, shape=[1, 2])
    getattr(tensor.contents, field).extend(values)
    error = refused(GrpcCodec("m", echo_signature(open_spec(Datatype(datatype)))), request)
    assert error.status == 400
    assert words in error.message


def test_a_plan_is_not_followed_where_the_bytes_differ() -> None:
    codec = GrpcCodec("m", echo_signature(open_spec(Datatype.FP32)))
    codec.decode(request_of(X, "FP32").SerializeToString())
    request = request_of(X, "FP32")
    request.raw_input_contents[0] = b"1234"
    assert refused(codec, request).code == "size_mismatch"
    del request.raw_input_contents[:]
    assert refused(codec, request).code == "size_mismatch"


def test_empty_batches_come_back_empty() -> None:
    codec = GrpcCodec("m", echo_signature(open_spec(Datatype.FP32)))
    decoded = codec.decode(request_of(np.empty((0, 2), np.float32), "FP32").SerializeToString())
    assert decoded.inputs["x"].shape == (0, 2)
    answer = service_pb2.ModelInferResponse.FromString(codec.encode(decoded, {"x_out": decoded.inputs["x"]}))
    assert list(answer.outputs[0].shape) == [0, 2]
    assert list(answer.raw_output_contents) == [b""]


def test_every_status_has_its_code() -> None:
    assert {status: code.name for status, code in CODES.items() if status in (400, 401, 404, 413, 429, 501, 503)} == {
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        404: "NOT_FOUND",
        413: "RESOURCE_EXHAUSTED",
        429: "RESOURCE_EXHAUSTED",
        501: "UNIMPLEMENTED",
        503: "UNAVAILABLE",
    }
    assert code_of(ApiError(507, "x", "x")).name == "INTERNAL"
    assert code_of(ApiError(418, "x", "x")).name == "INVALID_ARGUMENT"
    error = ApiError(429, "queue_full", "é" * 3000, headers={"Retry-After": "3"})
    assert len(details_of(error)) == 1024
    assert dict(metadata_of(error, "id-1")) == {
        "x-request-id": "id-1",
        "error-code": "queue_full",
        "retry-after": "3",
        "grpc-retry-pushback-ms": "3000",
    }
