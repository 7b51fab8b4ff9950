"""Two real operators beside a real API server: one acts, and the other does when the first cannot."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from tests.cluster.lifecycle import Cluster
from tests.fixtures.grants import LEASE
from tests.fixtures.objects import Manifest, Objects
from tests.fixtures.operator import Models, OperatorProcess, operator_process
from tests.fixtures.waiting import WAIT_SECONDS

pytestmark = pytest.mark.api

DURATION_SECONDS = 15.0
BUSY_SECONDS = 30.0
"""By so much a standby may ask late on a busy machine; on an idle one it is below two."""
LONG_SECONDS = 60.0
LONG = {
    "SLIPWAY_LEASE_DURATION_SECONDS": f"{LONG_SECONDS:.0f}",
    "SLIPWAY_LEASE_RENEW_DEADLINE_SECONDS": "40",
}
"""What comes before this lease has run out does not come because it has."""
QUICK = {
    "SLIPWAY_LEASE_DURATION_SECONDS": "6",
    "SLIPWAY_LEASE_RENEW_DEADLINE_SECONDS": "4",
    "SLIPWAY_LEASE_RETRY_SECONDS": "1",
}
LEASE_LOST = 3
"""Exit code."""

Pair = tuple[OperatorProcess, OperatorProcess]


@pytest.fixture
def pair(cluster: Cluster, objects: Objects, crd: str, tmp_path: Path) -> Iterator[Pair]:
    """Not started; of one installation, so with one identity towards the API server and two as holders."""
    first = operator_process(cluster, objects, tmp_path, cluster_wide=False)
    second = replace(first, identity="operator-b", log=tmp_path / "second.log")
    yield first, second
    for operator in (first, second):
        operator.kill()


def start(pair: Pair, **environment: str) -> None:
    pair[0].start(**environment)
    pair[1].start(until="ok: standby", **environment)


def holder(objects: Objects) -> str:
    return str(lease(objects).get("holderIdentity") or "")


def lease(objects: Objects) -> Manifest:
    """Its spec."""
    found = objects.get("lease", LEASE)
    assert found is not None
    spec: Manifest = found["spec"]
    return spec


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


@pytest.mark.feature("leader-election")
def test_of_two_one_acts_and_the_other_takes_over_within_the_leases_duration_when_it_is_killed(
    pair: Pair, models: Models, objects: Objects
) -> None:
    first, second = pair
    start(pair)
    models.create()
    models.wait_condition("Accepted", "True", "Valid")
    first.settle()
    assert holder(objects) == first.identity
    assert second.writes() == 0
    assert second.fetch("/healthz")[0] == 200
    assert second.metric("leader") == 0
    assert first.metric("leader") == 1
    first.kill()
    renewed = lease(objects)["renewTime"]
    second.wait("ok: leading")
    taken_seconds = seconds_between(renewed, lease(objects)["acquireTime"])
    assert DURATION_SECONDS <= taken_seconds < DURATION_SECONDS + BUSY_SECONDS
    assert 0 < second.metric("takeover_seconds") < DURATION_SECONDS + BUSY_SECONDS
    assert second.metric("lease_transitions") == 1
    objects.delete("service", "digits")
    objects.wait_for("service", "digits", lambda found: True, what="made anew by the other")


def test_an_operator_that_is_told_to_end_hands_its_work_over_at_once(
    pair: Pair, models: Models, objects: Objects
) -> None:
    first, second = pair
    start(pair, **LONG)
    models.create()
    models.wait_condition("Accepted", "True", "Valid")
    first.settle()
    assert first.process is not None
    began = time.monotonic()
    first.process.send_signal(signal.SIGTERM)
    second.wait("ok: leading")
    assert time.monotonic() - began < LONG_SECONDS
    assert first.process.wait(WAIT_SECONDS) == 0
    first.process = None
    assert second.settle() == 0, "the other found everything as it should be and wrote all the same"
    assert second.stop() == 0
    assert holder(objects) == ""


def test_a_holder_that_was_stopped_and_goes_on_after_its_time_writes_nothing_and_ends(
    pair: Pair, models: Models, objects: Objects
) -> None:
    """The two render different images, so that any write of the first would show in the Deployments."""
    first, second = pair
    first.start(SLIPWAY_RUNTIME_IMAGE="registry.example.com/runtime:first", SLIPWAY_WRITES_PER_SECOND="1", **QUICK)
    second.start(until="ok: standby", SLIPWAY_RUNTIME_IMAGE="registry.example.com/runtime:second", **QUICK)
    names = [f"digits-{number}" for number in range(6)]
    for name in names:
        models.create(name)
    first.wait_log("applying")
    assert first.process is not None
    first.process.send_signal(signal.SIGSTOP)
    second.wait("ok: leading")
    for name in names:
        models.wait_condition("Accepted", "True", "Valid", name)
    second.settle()
    before = versions(objects)
    first.process.send_signal(signal.SIGCONT)
    assert first.process.wait(WAIT_SECONDS) == LEASE_LOST
    first.process = None
    second.settle()
    assert versions(objects) == before
    assert "held back" in first.log.read_text(), "nothing was about to be written, so nothing is shown"
    assert holder(objects) == second.identity


def versions(objects: Objects) -> dict[str, str]:
    """Of the Deployments: any write changes them."""
    return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in objects.list("deployments")}


def test_one_operator_alone_takes_its_lease_back_at_once_when_its_container_starts_again(
    pair: Pair, models: Models
) -> None:
    first, _ = pair
    first.start(**LONG)
    models.create()
    models.wait_condition("Accepted", "True", "Valid")
    first.kill()
    began = time.monotonic()
    first.start(**LONG)
    assert time.monotonic() - began < LONG_SECONDS


def test_a_standby_that_cannot_read_the_lease_is_not_ready_and_says_why(pair: Pair, objects: Objects) -> None:
    first, _ = pair
    objects.delete("rolebinding", "slipway-operator-lease")
    first.start(until=None)
    first.wait_log("cannot get resource")
    assert first.fetch("/healthz") == (200, "ok\n")
    assert first.fetch("/readyz")[0] == 503
