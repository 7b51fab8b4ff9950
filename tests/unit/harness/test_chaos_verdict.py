"""The judge of `make chaos` sees what must not happen."""

from __future__ import annotations

from typing import Any

import pytest

from slipway_operator.names import COMPONENT, MODEL_LABEL
from tests.chaos.acts import Book
from tests.chaos.verdict import Sight, harmed, unsettled
from tests.fixtures.objects import Manifest

pytestmark = pytest.mark.unit


def thing(kind: str, name: str, version: str = "1", uid: str = "u", owner: str = "", **metadata: Any) -> Manifest:
    owners = [{"kind": "ModelDeployment", "name": owner, "uid": f"{owner}-uid", "controller": True}] if owner else []
    base = {"namespace": "n", "name": name, "uid": uid, "resourceVersion": version, "ownerReferences": owners}
    return {"kind": kind, "metadata": base | metadata}


def book(**entries: Any) -> Book:
    return Book("n", 1, **entries)


MODEL = {"metadata": {"name": "alpha", "namespace": "n", "uid": "alpha-uid"}}


def test_order_is_not_blamed() -> None:
    stranger = thing("ConfigMap", "bystander")
    child = thing("Service", "steady", owner="steady")
    found = book(strangers={("ConfigMap", "bystander"): stranger}, steady={("Service", "steady"): child})
    assert harmed(Sight([MODEL], [stranger, child], []), found) == []


def test_a_write_to_what_is_not_ours_is_seen_and_so_is_its_end() -> None:
    found = book(strangers={("ConfigMap", "bystander"): thing("ConfigMap", "bystander")})
    assert "written for no reason" in harmed(Sight([], [thing("ConfigMap", "bystander", "2")], []), found)[0]
    assert "is gone" in harmed(Sight([], [], []), found)[0]


def test_an_untouched_child_that_is_written_or_made_anew_is_seen() -> None:
    before = thing("Service", "steady", owner="steady", managedFields=[{"manager": COMPONENT, "time": "1"}])
    found = book(steady={("Service", "steady"): before})
    written = thing("Service", "steady", "2", owner="steady", managedFields=[{"manager": COMPONENT, "time": "2"}])
    anew = thing("Service", "steady", "2", "other", owner="steady")
    assert "was written" in harmed(Sight([], [written], []), found)[0]
    assert "made anew" in harmed(Sight([], [anew], []), found)[0]


def test_more_pod_templates_than_acts_are_seen() -> None:
    revision = {"deployment.kubernetes.io/revision": "3"}
    live = thing("Deployment", "alpha", owner="alpha", annotations=revision)
    assert "3 pod templates" in harmed(Sight([MODEL], [live], []), book())[0]
    assert harmed(Sight([MODEL], [live], []), book(templates={"alpha": 2})) == []


def test_a_pod_of_nobody_and_a_child_that_outlives_its_owner_are_seen() -> None:
    pod = thing("Pod", "lost", labels={MODEL_LABEL: "gone"})
    sight = Sight([], [thing("Service", "gone", owner="gone")], [pod])
    assert unsettled(sight, policy=None, now=None) == [  # type: ignore[arg-type]
        "Service gone outlives its owner",
        "Pod lost belongs to no model that there is",
    ]


def test_two_revisions_of_one_number_are_seen() -> None:
    first = thing("ControllerRevision", "alpha-1", owner="alpha") | {"revision": 2}
    second = thing("ControllerRevision", "alpha-2", owner="alpha") | {"revision": 2}
    other = thing("ControllerRevision", "beta-1", owner="beta") | {"revision": 2}
    assert harmed(Sight([MODEL], [first, second, other], []), book()) == ["alpha has 2 revisions 2"]
