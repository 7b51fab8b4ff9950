"""What gateway and worker share, without a process: messages, memory, sizes, and the policy of restarts."""

from __future__ import annotations

import gc
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_runtime.contract import Datatype, Format, TensorSpec
from slipway_runtime.engines.engine import Execution, LoadedModel
from slipway_runtime.engines.worker.batch import OutputSizes, SlabArrays, allocate, make_batch
from slipway_runtime.engines.worker.exits import count_oom_kills, explain_exit
from slipway_runtime.engines.worker.facts import decode_model, encode_model
from slipway_runtime.engines.worker.faults import decode_fault, encode_fault
from slipway_runtime.engines.worker.region import ALIGNMENT_BYTES, Place, PlaceError, Region, plan
from slipway_runtime.engines.worker.restarts import BACK_OFF_SECONDS, LOOP_ENDS, LOOP_SECONDS, Cause, Restarts
from slipway_runtime.engines.worker.slabs import IDLE_SECONDS, LEAST_BYTES, SlabPool
from slipway_runtime.engines.worker.wire import (
    SMALL_BYTES,
    BrokenMessageError,
    Channel,
    Close,
    Done,
    Failed,
    Load,
    Message,
    Need,
    Room,
    Run,
    decode,
    encode,
)
from slipway_runtime.models.datatypes import NUMPY, Array
from slipway_runtime.models.model import (
    DeviceMemoryError,
    OutputError,
    PredictionError,
    RejectedInputError,
    RowError,
    RowsFailedError,
)
from slipway_runtime.models.signature import Signature

pytestmark = pytest.mark.unit

PLACES = [Place("x", "<f4", [2, 3], 0, 24), Place("tokens", "|O", [1], 64, 9)]
MESSAGES: list[Message] = [
    Load("/models/a.pt", {"name": "a"}, profile=True),
    Failed("Load", "ModelLoadFailed", "not a model"),
    Run(7, 1, PLACES, 2, 60.0, [[1, 65536]]),
    Need(7, 1 << 40),
    Room(3, [[3, 131072]]),
    Done(7, 0.25, PLACES),
    Done(8, 0.5, [], {"kind": "OutputError", "message": "no"}),
    Done(9, 0.5, PLACES, cuda=[1024, 4096]),
    Close(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_wire(message: Message) -> None:
    assert decode(encode(message)) == message


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_are_said_to_be_none(content: bytes) -> None:
    try:
        message = decode(content)
    except BrokenMessageError:
        return
    assert type(message).__module__.endswith("wire")


def test_a_message_that_is_too_long_for_the_socket_arrives_whole_and_in_order() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sender, receiver = Channel(ours), Channel(theirs)
    try:
        region = Region.create(64)
        long = Load("/a", {"words": ["x" * 100] * (SMALL_BYTES // 50)}, profile=False)
        sender.send(long, [region.fd])
        sender.send(Close())
        received = receiver.receive()
        assert received is not None
        assert received[0] == long
        assert len(received[1]) == 1
        assert not os.get_inheritable(received[1][0])
        os.close(received[1][0])
        assert receiver.receive() == (Close(), [])
        sender.close()
        assert receiver.receive() is None
    finally:
        sender.close()
        receiver.close()


@given(
    st.lists(st.tuples(st.sampled_from(sorted(NUMPY)), st.lists(st.integers(0, 5), max_size=4)), min_size=1, max_size=5)
)
def test_tensors_of_every_type_and_shape_are_read_as_they_were_written(
    described: list[tuple[Datatype, list[int]]],
) -> None:
    generator = np.random.default_rng(1)
    tensors: dict[str, Array] = {
        f"t{position}": (generator.random(shape) * 100).astype(NUMPY[datatype])
        for position, (datatype, shape) in enumerate(described)
    }
    places, contents, size_bytes = plan(tensors)
    region = Region.create(max(1, size_bytes))
    region.write(places, contents)
    for place in places:
        assert place.offset % ALIGNMENT_BYTES == 0
        assert place.offset + place.size_bytes <= size_bytes
        view = region.view(place)
        assert view.dtype == tensors[place.name].dtype
        np.testing.assert_array_equal(view, tensors[place.name])


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_elements_of_bytes_keep_their_lengths_and_order(elements: list[bytes]) -> None:
    array = np.empty(len(elements), np.object_)
    array[:] = elements
    places, contents, size_bytes = plan({"words": array.reshape(1, -1), "after": np.ones(3)})
    region = Region.create(size_bytes)
    region.write(places, contents)
    assert region.view(places[0]).tolist() == [elements]
    assert region.view(places[1]).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "place",
    [
        Place("x", "<f4", [100], 0, 400),
        Place("x", "<f4", [2], -8, 8),
        Place("x", "<f4", [-2], 0, -8),
        Place("x", "<f4", [2], 0, 4),
        Place("x", "<c8", [1], 0, 8),
        Place("x", "|O", [3], 0, 8),
        Place("x", "|O", [1], 0, 3),
        Place("x", "|O", [1], 8, 6),
    ],
)
def test_a_place_that_does_not_fit_its_region_is_refused(place: Place) -> None:
    region = Region.create(64)
    region.memory[8:12] = b"\xff\x00\x00\x00"
    with pytest.raises(PlaceError):
        region.view(place)


def test_the_other_side_cannot_cut_memory_off() -> None:
    region = Region.create(4096)
    with pytest.raises(PermissionError):
        os.ftruncate(region.fd, 0)


def test_an_array_outlives_its_region() -> None:
    region = Region.create(64)
    view = region.view(Place("x", "<i8", [8], 0, 64))
    view[...] = 5
    del region
    gc.collect()
    assert view.tolist() == [5] * 8


def test_a_slab_is_used_again_and_let_go_when_nobody_takes_it() -> None:
    now = 0.0
    pool = SlabPool(clock=lambda: now)
    first = pool.take(1000)
    second = pool.take(LEAST_BYTES + 1)
    assert pool.size_bytes == LEAST_BYTES + 2 * LEAST_BYTES
    identity = first.identity
    pool.give(first)
    del first
    assert pool.take(10).identity == identity
    pool.give(second)
    del second
    now = IDLE_SECONDS + 1
    pool.sweep()
    assert pool.size_bytes == 0
    assert set(pool.forgotten()) == {1, 2}
    assert list(pool.forgotten()) == []


def test_inputs_that_were_allocated_are_not_copied_again() -> None:
    pool = SlabPool()
    layout: dict[str, Any] = {"x": ((2, 3), np.dtype(np.float32)), "n": ((2,), np.dtype(np.int64))}
    arrays = allocate(pool, layout)
    assert isinstance(arrays, SlabArrays)
    arrays["x"][...] = 1
    arrays["n"][...] = 2
    batch = make_batch(pool, OutputSizes(), Execution(arrays, lambda execution: None))
    assert batch.inputs is arrays.slab
    views = {place.name: batch.inputs.view(place) for place in batch.places}
    assert np.shares_memory(views["x"], arrays["x"])
    assert views["n"].tolist() == [2, 2]


def test_inputs_from_elsewhere_and_bytes_are_copied_into_a_slab() -> None:
    pool = SlabPool()
    words = allocate(pool, {"words": ((2,), np.dtype(np.object_))})
    words["words"][...] = [b"a", b"bc"]
    for given_inputs in (words, {"x": np.arange(6, dtype=np.int8)[::2]}):
        batch = make_batch(pool, OutputSizes(), Execution(given_inputs, lambda execution: None))
        for place in batch.places:
            assert batch.inputs.view(place).tolist() == given_inputs[place.name].tolist()


def test_the_room_for_outputs_follows_the_rows_and_never_runs_away() -> None:
    sizes = OutputSizes()
    assert sizes.expect(100) == 0
    sizes.learn(rows=1, size_bytes=1000)
    assert sizes.expect(1) >= 1000
    sizes.learn(rows=10, size_bytes=10_000)
    assert sizes.expect(15) >= 15_000
    assert sizes.expect(1_000_000) == 20_000


@pytest.mark.parametrize(
    "error",
    [
        PredictionError("a"),
        OutputError("b"),
        DeviceMemoryError("c"),
        RejectedInputError("d"),
    ],
)
def test_an_error_of_the_model_keeps_its_class_and_words(error: PredictionError) -> None:
    carried = decode_fault(encode_fault(error), {})
    assert type(carried) is type(error)
    assert str(carried) == str(error)
    assert (carried.status, carried.code) == (error.status, error.code)


def test_errors_of_single_rows_keep_their_rows() -> None:
    outputs = {"y": np.zeros(3)}
    error = RowsFailedError({1: RowError(400, "bad", "row one")}, outputs)
    carried = decode_fault(encode_fault(error), outputs)
    assert isinstance(carried, RowsFailedError)
    assert carried.rows == error.rows
    assert carried.outputs["y"] is outputs["y"]


def test_a_class_that_the_gateway_does_not_know_is_an_error_of_the_model() -> None:
    class OddError(PredictionError):
        pass

    assert type(decode_fault(encode_fault(OddError("x")), {})) is PredictionError
    with pytest.raises(BrokenMessageError):
        decode_fault({"rows": {"a": 1}}, {})


def test_what_was_measured_survives_the_wire() -> None:
    spec = TensorSpec(name="x", datatype=Datatype.FP32, shape=[-1, 4])
    model = LoadedModel(
        Format.TORCH_SCRIPT,
        "cpu",
        Signature((spec,), (spec,)),
        points={1: (0.1, 0.2), 8: (0.3,)},
        bucket=((4,),),
        max_batch_size=8,
        properties={"tuner": "eager"},
    )
    load = decode(encode(Load("", encode_model(model), profile=False)))
    assert isinstance(load, Load)
    assert decode_model(load.config) == model
    with pytest.raises(BrokenMessageError):
        decode_model({"format": "TorchScript"})


def test_restarts_back_off_and_begin_anew_after_a_success() -> None:
    restarts = Restarts()
    assert [restarts.record_end(float(number)) for number in range(8)] == [*BACK_OFF_SECONDS, 30.0, 30.0]
    restarts.record_success()
    assert restarts.record_end(100.0) == BACK_OFF_SECONDS[0]


def test_a_loop_is_five_ends_in_five_minutes_without_a_success() -> None:
    restarts = Restarts()
    for number in range(LOOP_ENDS - 1):
        restarts.record_end(float(number))
    assert not restarts.looping(LOOP_ENDS)
    restarts.record_end(10.0)
    assert restarts.looping(11.0)
    assert not restarts.looping(LOOP_SECONDS + 1)
    restarts.record_success()
    assert not restarts.looping(11.0)


def test_a_model_that_loads_for_minutes_and_always_ends_is_a_loop_too() -> None:
    restarts, now = Restarts(), 0.0
    for _ in range(LOOP_ENDS):
        assert not restarts.looping(now)
        now += restarts.record_end(now)
        restarts.record_start(200.0)
        now += 200.0
    assert now > 3 * LOOP_SECONDS
    assert restarts.looping(now)
    restarts.record_success()
    restarts.record_end(now)
    assert not restarts.looping(now)


def test_ends_that_lie_far_apart_are_no_loop() -> None:
    restarts = Restarts()
    for number in range(20):
        restarts.record_end(number * LOOP_SECONDS / 3)
        assert not restarts.looping(number * LOOP_SECONDS / 3)


@pytest.mark.parametrize(
    ("code", "oom_kills", "cause", "words"),
    [
        (3, 0, Cause.CRASH, "exit code 3"),
        (-11, 0, Cause.CRASH, "SIGSEGV"),
        (-9, 0, Cause.CRASH, "SIGKILL"),
        (-9, 1, Cause.OUT_OF_MEMORY, "memory was used up"),
        (-11, 1, Cause.CRASH, "SIGSEGV"),
        (-63, 0, Cause.CRASH, "63"),
    ],
)
def test_an_end_is_told_by_its_signal_or_exit_code(code: int, oom_kills: int, cause: Cause, words: str) -> None:
    found, how = explain_exit(code, oom_kills)
    assert found is cause
    assert words in how


@pytest.mark.parametrize(
    ("name", "content", "count"),
    [
        ("memory.events", "low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 0\n", 2),
        ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", 5),
        ("memory.events", "odd\n", 0),
    ],
)
def test_kills_for_memory_are_read_from_either_cgroup(tmp_path: Path, name: str, content: str, count: int) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)
    assert count_oom_kills(tmp_path) == count


def test_no_cgroup_means_no_kills(tmp_path: Path) -> None:
    assert count_oom_kills(tmp_path) == 0
