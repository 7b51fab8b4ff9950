"""Medians of rounds, ratios within rounds, targets and the page that shows them."""

from __future__ import annotations

import pytest

from benchmarks import figures
from benchmarks.figures import Figure, p50, rate
from benchmarks.generator import Outcome, outcome_of
from benchmarks.page import page, table, targets_table
from benchmarks.peers import Role
from benchmarks.results import Cell, Growth, Memory, Participant, Results
from benchmarks.targets import TARGETS

pytestmark = pytest.mark.unit

MLP = Cell(workload="mlp")


def outcome(rate: float, *, p50: float = 1, right: int = 100, wrong: int = 0, refused: int = 0) -> Outcome:
    return Outcome(rate, p50, 2 * p50, 3 * p50, right, wrong, refused, 0)


@pytest.fixture
def results() -> Results:
    found = Results(date="2026-01-01 00:00 UTC", machine="A machine", placement="one core", rounds=3, seconds=2)
    for name, role in (("slipway", Role.SUBJECT), ("fastapi", Role.PEER), ("bare", Role.FLOOR)):
        found.participants[name] = Participant(title=name.title(), role=role, version="1.0")
    for ours, theirs in ((1000, 100), (500, 50), (1200, 60)):
        found.add(MLP, "slipway", outcome(ours))
        found.add(MLP, "fastapi", outcome(theirs))
    return found


def test_a_ratio_is_taken_within_rounds_when_the_machine_slows_down(results: Results) -> None:
    assert figures.ratio(results, MLP, "slipway", "fastapi", rate) == Figure(10, 10, 20)
    assert figures.of(results, MLP, "slipway", rate) == Figure(1000, 500, 1200)


def test_a_round_without_right_answers_is_no_figure_when_a_server_failed(results: Results) -> None:
    results.add(MLP, "bare", outcome(0, right=0, refused=5))
    assert figures.of(results, MLP, "bare", rate) is None
    assert figures.ratio(results, MLP, "slipway", "bare", rate) is None
    assert figures.ratio(results, MLP, "slipway", "absent", rate) is None


def test_raw_torch_counts_at_the_batch_that_is_best_over_all_rounds_when_compared(results: Results) -> None:
    steady = [
        {1: (100.0, 10.0), 8: (400.0, 20.0)},
        {1: (90.0, 11.0), 8: (80.0, 99.0)},
        {1: (95.0, 10.0), 8: (300.0, 26)},
    ]
    results.raw["mlp"] = steady
    assert figures.best_batch(steady) == 8
    assert figures.over_raw(results, MLP, "slipway") == Figure(4, 2.5, 6.25)


def test_two_processes_of_raw_torch_are_shown_beside_two_workers(results: Results) -> None:
    for workers, requests in ((1, 100.0), (2, 180.0)):
        results.add(Cell(workload="cnn", wire="binary", workers=workers), "slipway", outcome(requests))
    assert "Server and generator share all cores" in page(results)
    results.raw_pairs["cnn"] = [(100, 190), (50, 90), (100, 170)]
    assert figures.raw_scaling(results, "cnn") == Figure(1.8, 1.7, 1.9)
    assert "make 1.80 (1.70 … 1.90) times one (cnn)." in page(results)


def test_the_tuner_is_judged_by_the_same_server_without_it(results: Results) -> None:
    for connections, ours, theirs in ((64, 120.0, 100.0), (1, 80.0, 40.0)):
        cell = Cell(workload="cnn", wire="binary", connections=connections)
        results.add(cell, "slipway", outcome(ours, p50=1000 / ours))
        results.add(cell, "slipway-untuned", outcome(theirs, p50=1000 / theirs))
    verdicts = {target.what: target.verdict(results) for target in TARGETS if target.what.endswith("without its tuner")}
    assert list(verdicts.values()) == ["missed", "met"]


def test_wrong_answers_are_added_up_when_all_cells_are_seen(results: Results) -> None:
    results.add(Cell(workload="cnn"), "slipway", outcome(5, wrong=2, refused=3))
    results.add(Cell(workload="encoder", arrivals="poisson"), "slipway", outcome(5, refused=100))
    assert figures.mistakes(results, "slipway") == (2, 3, 0)


def test_a_target_is_met_missed_or_not_measured_when_judged(results: Results) -> None:
    by_name = {target.what: target.verdict(results) for target in TARGETS}
    assert by_name["MLP, JSON, 64 connections: requests/s over FastAPI with pydantic"] == "missed"
    assert by_name["MLP, JSON, 64 connections: requests/s over KServe"] == "not measured"
    for _ in range(3):
        results.add(MLP, "litserve", outcome(2))
    (target,) = [target for target in TARGETS if target.what.endswith("over LitServe")]
    assert target.verdict(results) == "met"


def test_cpu_time_tells_what_wall_time_cannot_when_others_use_the_machine(results: Results) -> None:
    for name, microseconds in (("slipway", 20.0), ("bare", 10.0)):
        slow = outcome(1)
        results.samples[MLP.key][name] = [Outcome(*(1, 1, 1, 1, 1, 0, 0, 0), cpu_microseconds=microseconds), slow]
    (target,) = [
        target for target in TARGETS if target.what.endswith("64 connections: requests/s over a bare asyncio protocol")
    ]
    assert target.by_cpu(results) == Figure(0.5, 0.5, 0.5)


def test_less_is_better_when_a_target_is_a_bound(results: Results) -> None:
    results.memory["slipway"] = Memory(own_bytes=90, resident_bytes=100, processes=1, ready_seconds=1)
    results.memory["triton"] = Memory(own_bytes=100, resident_bytes=100, processes=2, ready_seconds=1)
    results.growth = Growth(requests=[1, 2, 3], own_bytes=[100, 150, 110])
    verdicts = {target.what: target.verdict(results) for target in TARGETS}
    assert verdicts["Memory with the MLP over Triton's"] == "met"
    assert verdicts["Memory after the last request over memory after the first tenth of them"] == "missed"


def test_the_open_loops_tail_is_compared_with_a_lone_request_when_both_are_there(results: Results) -> None:
    results.add(Cell(workload="encoder", connections=1), "slipway", outcome(100, p50=10))
    results.add(Cell(workload="encoder", arrivals="paced"), "slipway", outcome(60, p50=6))
    (target,) = [target for target in TARGETS if "paced" in target.what]
    assert target.measured(results) == Figure(1.2, 1.2, 1.2)
    assert target.verdict(results) == "met"


def test_results_come_back_as_they_were_when_read_again(results: Results) -> None:
    results.raw["mlp"] = [{1: (100.0, 10.0)}]
    assert Results.model_validate_json(results.model_dump_json()) == results


def test_what_was_measured_again_replaces_the_rest_stays_when_merged(results: Results) -> None:
    later = Results(date="2026-02-02 00:00 UTC", machine="A machine", placement="one core", rounds=1, seconds=1)
    later.add(MLP, "slipway", outcome(7))
    later.add(Cell(workload="cnn"), "slipway", outcome(8))
    results.merge(later)
    assert results.date == "2026-02-02 00:00 UTC"
    assert figures.of(results, MLP, "slipway", rate) == Figure(7, 7, 7)
    assert figures.of(results, Cell(workload="cnn"), "slipway", rate) == Figure(8, 8, 8)
    assert results.participants["slipway"].title == "Slipway"


def test_the_page_names_every_server_with_its_reason_when_one_takes_no_part(results: Results) -> None:
    results.participants["other"] = Participant(title="Other", role=Role.PEER)
    results.absent["other"] = {"mlp": "needs java | on PATH"}
    results.background_busy = [0.01, 0.5]
    text = page(results)
    assert "| Other | mlp | needs java \\| on PATH |" in text
    assert "| **Slipway 1.0** | 1,000 (500 … 1,200) |" in text
    assert text.index("**Slipway 1.0**") < text.index("Fastapi 1.0")
    assert "Other processes took 26% of the machine's CPU time" in text
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_every_target_has_a_row_when_nothing_was_measured() -> None:
    nothing = Results(date="", machine="", placement="", rounds=1, seconds=1)
    rows = targets_table(nothing).splitlines()[2:]
    assert len(rows) == len(TARGETS)
    assert all(row.endswith("| - | not measured | - |") for row in rows)


def test_columns_are_aligned_when_a_table_is_written() -> None:
    assert table(["a", "b"], [["1", "2"]], "lr") == "| a | b |\n|---|---:|\n| 1 | 2 |"


def test_other_statuses_are_no_answers_when_a_report_is_read() -> None:
    report = {
        "requests_per_second": 5.0,
        "answers": 12,
        "statuses": {"200": 10, "429": 2},
        "wrong": 1,
        "errors": {"timeout": 3, "closed": 1},
        "latency_milliseconds": {"p50": 1.0, "p95": 2.0, "p99": 3.0, "mean": 1.5, "max": 4.0},
    }
    found = outcome_of(report)
    assert (found.right, found.wrong, found.refused, found.errors) == (9, 1, 2, 4)
    assert p50(found) == 1.0
