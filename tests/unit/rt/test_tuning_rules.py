"""The tuner's rules: when an answer is the same, which variant is taken, on which requests it is tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from time import perf_counter, sleep
from typing import cast

import numpy as np
import pytest

from slipway_runtime.contract import Datatype, Precision, TensorSpec
from slipway_runtime.models.bfloat16 import from_bits, to_bits
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.model import Model
from slipway_runtime.models.signature import Signature
from slipway_runtime.models.tuning.choice import (
    Choice,
    Measured,
    Variant,
    candidates,
    choose,
    choose_pair,
    combine,
    parse_choice,
)
from slipway_runtime.models.tuning.comparison import find_difference
from slipway_runtime.models.tuning.notes import Notes, describe_machine, open_notes
from slipway_runtime.models.tuning.race import clock_for, find_crossing, race
from slipway_runtime.models.tuning.trials import make_inputs, plan_shapes, varied

pytestmark = pytest.mark.unit

SCORES = np.array([[100.0, -3.0, 0.001], [0.0, 50.0, 7.0]], np.float32)
NONE = ({}, {})


def difference(wanted: Array, given: Array, *, reduced: bool = False) -> str | None:
    return find_difference({"y": wanted}, {"y": given}, NONE, reduced=reduced)


@pytest.mark.parametrize(
    ("dtype", "relative"), [(np.float64, 1e-8), (np.float32, 1e-4), (np.float16, 5e-3)], ids=["FP64", "FP32", "FP16"]
)
def test_rounding_is_no_difference(dtype: type, relative: float) -> None:
    wanted = SCORES.astype(dtype)
    assert difference(wanted, (wanted * (1 + relative)).astype(dtype)) is None
    assert difference(wanted, (wanted * (1 + 40 * relative)).astype(dtype)) is not None


def test_small_values_are_compared_with_the_largest_of_their_output() -> None:
    wanted = np.array([1e-6, 2e-6], np.float32)
    assert difference(wanted, np.array([2e-6, 1e-6], np.float32)) is not None
    assert difference(SCORES, SCORES + np.float32(1e-4)) is None


def test_what_is_not_finite_must_be_so_in_the_same_places() -> None:
    wanted = np.array([np.nan, np.inf, 1.0], np.float32)
    assert difference(wanted, wanted.copy()) is None
    for given in ([np.nan, -np.inf, 1.0], [0.0, np.inf, 1.0], [np.nan, np.inf, np.nan]):
        assert difference(wanted, np.array(given, np.float32)) is not None


def test_integers_must_be_equal_unless_less_precision_was_asked_for() -> None:
    labels = np.arange(20)
    almost = np.where(labels == 3, 4, labels)
    assert "5.0% of its elements" in (difference(labels, almost) or "")
    assert difference(labels, almost, reduced=True) is None
    assert difference(labels, labels[::-1].copy(), reduced=True) is not None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "gives the outputs [] instead of ['y']"),
        ({"y": SCORES[:1]}, "FP32 [1, 3] instead of FP32 [2, 3]"),
        ({"y": SCORES.astype(np.float64)}, "FP64 [2, 3] instead of FP32 [2, 3]"),
    ],
)
def test_names_shapes_and_element_types_must_be_equal(given: dict[str, Array], expected: str) -> None:
    assert expected in (find_difference({"y": SCORES}, given, NONE) or "")


def test_bf16_is_compared_by_value_and_told_from_uint16() -> None:
    bits = to_bits(SCORES)
    bf16 = {"y": Datatype.BF16}
    assert find_difference({"y": bits}, {"y": bits + np.uint16(1)}, (bf16, bf16)) is None
    assert find_difference({"y": bits}, {"y": bits}, (bf16, {})) is not None
    assert find_difference({"y": bits}, {"y": to_bits(SCORES * 1.5)}, (bf16, bf16)) is not None


def test_bf16_rounds_to_the_nearest_and_keeps_what_is_not_finite() -> None:
    values = np.array([1.0, -2.5, 1 + 2**-8, 1 + 3 * 2**-8, np.inf, -np.inf, np.nan, 3.4e38, 0.0], np.float32)
    back = from_bits(to_bits(values))
    np.testing.assert_array_equal(back, [1.0, -2.5, 1.0, 1 + 2**-6, np.inf, -np.inf, np.nan, np.inf, 0.0])
    assert to_bits(np.float32(1)).shape == ()


FROZEN, ONNX, OPTIMIZED = Variant.FROZEN, Variant.ONNX_RUNTIME, Variant.OPTIMIZED


@pytest.mark.parametrize(
    ("measured", "chosen"),
    [
        ({}, Variant.AS_SAVED),
        ({FROZEN: Measured(0.96, 0.97)}, Variant.AS_SAVED),
        ({FROZEN: Measured(0.9, 0.9)}, FROZEN),
        ({FROZEN: Measured(0.9, 0.9), ONNX: Measured(0.4, 0.8)}, ONNX),
        ({FROZEN: Measured(0.9, 0.9), ONNX: Measured(0.3, 1.3)}, FROZEN),
        ({OPTIMIZED: Measured(0.5)}, OPTIMIZED),
    ],
)
def test_the_fastest_is_taken_when_it_is_worth_it(measured: dict[Variant, Measured], chosen: Variant) -> None:
    assert choose(measured) is chosen


def test_what_takes_a_fifth_of_a_millisecond_is_worth_fusing() -> None:
    assert candidates(0.00019, Precision.BF16) == (FROZEN, ONNX)
    assert candidates(0.0002, Precision.ORIGINAL) == (FROZEN, OPTIMIZED, ONNX)
    assert set(candidates(0.0002, Precision.BF16)) == set(Variant) - {Variant.AS_SAVED}


@pytest.mark.parametrize(
    ("measured", "pair"),
    [
        ({}, None),
        ({FROZEN: Measured(0.9, 0.9)}, None),
        ({OPTIMIZED: Measured(0.75, 0.78), ONNX: Measured(0.36, 0.84)}, (ONNX, OPTIMIZED)),
        ({OPTIMIZED: Measured(0.75, 0.81), ONNX: Measured(0.36, 0.84)}, None),
        ({FROZEN: Measured(0.97, 0.97), ONNX: Measured(0.4, 1.3)}, (ONNX, FROZEN)),
        ({ONNX: Measured(0.4, 1.3)}, (ONNX, Variant.AS_SAVED)),
        ({ONNX: Measured(0.4)}, None),
    ],
)
def test_two_are_taken_where_one_leaves_much_to_gain_at_a_size(
    measured: dict[Variant, Measured], pair: tuple[Variant, Variant] | None
) -> None:
    assert choose_pair(measured, choose(measured)) == pair


def test_of_two_each_is_told_at_its_size() -> None:
    measured = {OPTIMIZED: Measured(0.75, 0.78), ONNX: Measured(0.36, 0.84)}
    assert str(combine(Choice(ONNX, OPTIMIZED, 8), measured)) == "0.36/0.78"
    assert str(combine(Choice(ONNX, Variant.AS_SAVED, 8), measured)) == "0.36/1.00"
    assert combine(Choice(ONNX), measured) == measured[ONNX]
    assert combine(Choice(Variant.AS_SAVED), measured) is None


@pytest.mark.parametrize(
    "choice", [Choice(ONNX), Choice(Variant.AS_SAVED), Choice(ONNX, Variant.AS_SAVED, 16)], ids=str
)
def test_a_choice_is_understood_where_it_is_read_again(choice: Choice) -> None:
    assert parse_choice(str(choice)) == choice


@pytest.mark.parametrize(
    "text", [None, "", "Something", "ONNXRuntime, Something from 8 rows", "ONNXRuntime, TorchScript from 0 rows"]
)
def test_an_unknown_choice_of_another_version_is_none(text: str | None) -> None:
    assert parse_choice(text) is None


class Clocked:
    """Runs that take what a table says, on a clock of their own."""

    now = 0.0

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.seconds = seconds

    def predict(self, inputs: dict[str, Array]) -> dict[str, Array]:
        Clocked.now += self.seconds(len(inputs["x"]))
        return {}


def batches(*sizes: int) -> dict[int, dict[str, Array]]:
    return {size: {"x": np.zeros((size, 1))} for size in sizes}


@pytest.mark.parametrize(("each", "expected"), [(0.5, 2), (2.0, 4), (6.0, 8), (14.0, 16)])
def test_one_takes_over_at_the_first_size_at_which_it_is_faster(each: float, expected: int) -> None:
    """One has a fixed cost of `each`, and then half the other's per row."""
    lone, many = Clocked(lambda rows: rows), Clocked(lambda rows: each / 2 + rows / 2)
    clock = lambda: Clocked.now  # noqa: E731
    assert find_crossing(cast(Model, lone), cast(Model, many), batches(2, 4, 8), 16, clock) == expected


def race_of_two(archive: Clocked, quick: Clocked, clock: Callable[[], float]) -> Sequence[float]:
    """What the quick one takes as parts of the archive's time, for one row and for eight."""
    Clocked.now = 0.0
    requests = list(batches(1, 8).values())
    measured, failed = race(cast(Model, archive), {ONNX: cast(Model, quick)}, requests, inf, clock)
    assert not failed
    return measured[ONNX].ratios


def test_a_neighbour_that_slows_a_round_down_does_not_decide() -> None:
    """Every third call of the race's clock-time is ten times as long, for whoever runs then."""

    def disturbed(seconds: float) -> Callable[[int], float]:
        return lambda rows: seconds * rows * (10 if int(Clocked.now / 7) % 3 == 0 else 1)

    archive, quick = Clocked(disturbed(0.01)), Clocked(disturbed(0.005))
    ratios = race_of_two(archive, quick, lambda: Clocked.now)
    assert ratios == pytest.approx([0.5, 0.5])


def test_a_clock_that_stands_still_for_a_while_ends_no_start() -> None:
    """As a thread's own does on some virtual machines when they are busy."""
    archive, quick = Clocked(lambda rows: 0.01 * rows), Clocked(lambda rows: 0.005 * rows)
    ratios = race_of_two(archive, quick, lambda: Clocked.now // 100)
    assert all(ratio > 0 for ratio in ratios)


def test_a_thread_alone_is_timed_by_its_own_work() -> None:
    clock = clock_for("cpu", 1)
    begun = clock()
    sleep(0.05)
    assert clock() - begun < 0.05
    assert clock_for("cpu", 2) is clock_for("cuda", 1) is perf_counter


def test_every_size_that_varies_is_tried_at_several_values() -> None:
    signature = Signature((TensorSpec(name="t", datatype=Datatype.INT64, shape=[-1, -1, 3]),))
    shapes = [tuple(request["t"]) for request in plan_shapes(signature, [{"t": [1, 5, 3]}])]
    assert shapes == [(1, 5, 3), (2, 5, 3), (3, 5, 3), (1, 10, 3), (2, 10, 3), (1, 15, 3), (3, 15, 3)]


@pytest.mark.parametrize("datatype", [kind for kind in Datatype if kind is not Datatype.BYTES])
def test_trials_are_the_same_in_every_run(datatype: Datatype) -> None:
    signature = Signature((TensorSpec(name="t", datatype=datatype, shape=[-1, 8]),))
    first, second = (make_inputs(signature, {"t": [4, 8]}, varied, 1)["t"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first)) > 1
    assert first.shape == (4, 8)


@pytest.mark.parametrize("content", ["", "{", '{"chosen": 5}', '{"other": 1}', "\xff"])
def test_notes_that_cannot_be_read_are_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "notes.json"
    file.write_text(content, "latin-1")
    notes = Notes(file)
    assert notes.chosen is None
    notes.choose(Choice(FROZEN))
    assert Notes(file).chosen == Choice(FROZEN)


def test_notes_are_kept_for_each_machine_and_only_for_what_cannot_change(tmp_path: Path) -> None:
    artifact = tmp_path / "sha256" / ("a" * 64)
    open_notes(artifact, {"cpu": "old"}).choose(Choice(FROZEN))
    assert open_notes(artifact, {"cpu": "old"}).chosen == Choice(FROZEN)
    assert open_notes(artifact, {"cpu": "new"}).chosen is None
    open_notes(tmp_path / "sha256" / "model.pt", {}).choose(Choice(FROZEN))
    assert open_notes(tmp_path / "sha256" / "model.pt", {}).chosen is None
    assert describe_machine()["cpu"]


def test_notes_on_a_disk_that_takes_none_are_forgotten() -> None:
    notes = Notes(Path("/proc/nowhere/notes.json"))
    notes.choose(Choice(FROZEN))
    assert Notes(Path("/proc/nowhere/notes.json")).chosen is None


def test_a_variant_is_fatal_when_two_processes_ended_in_it(tmp_path: Path) -> None:
    file = tmp_path / "notes.json"
    for _ in range(2):
        assert not Notes(file).is_fatal(Variant.ONNX_RUNTIME)
        Notes(file).begin(Variant.ONNX_RUNTIME)
    assert Notes(file).is_fatal(Variant.ONNX_RUNTIME)
    assert not Notes(file).is_fatal(Variant.FROZEN)


def test_a_variant_that_was_survived_is_not_held_against_it(tmp_path: Path) -> None:
    file = tmp_path / "notes.json"
    Notes(file).begin(Variant.ONNX_RUNTIME)
    survived = Notes(file)
    survived.begin(Variant.ONNX_RUNTIME)
    survived.end()
    Notes(file).begin(Variant.ONNX_RUNTIME)
    assert not Notes(file).is_fatal(Variant.ONNX_RUNTIME)
