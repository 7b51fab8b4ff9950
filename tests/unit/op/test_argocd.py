"""The health script that docs/gitops.md gives to Argo CD, run as it stands on the page over the operator's statuses."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, Final

import pytest
import yaml
from lupa import lua51

from slipway_operator.api.v1alpha1 import GROUP, KIND
from slipway_operator.plan import Plan
from tests.fixtures.kstatus import Phase, phase
from tests.fixtures.objects import Manifest
from tests.fixtures.operator import ready, unscheduled, waiting
from tests.pages import ROOT, snippets, tables
from tests.unit.op.observations import applied, carried_out, deployed_template, model, plan_of, pod

pytestmark = pytest.mark.unit

PAGE: Final = ROOT / "docs" / "gitops.md"
KEY: Final = f"resource.customizations.health.{GROUP}_{KIND}"
NO_SECRET: Final = waiting("CreateContainerConfigError", 'secret "s3-keys" not found')
NO_ROOM: Final = unscheduled("0/3 nodes are available: 3 Insufficient memory.")
OVERDUE: Final = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
LOADER: Final = """
function(script)
    local known = {table = table}
    for _, name in ipairs({"assert", "error", "ipairs", "next", "pairs", "pcall", "select", "tonumber", "tostring",
                           "type", "unpack"}) do
        known[name] = _G[name]
    end
    local refuse = function(_, name) error("Argo CD has no " .. tostring(name)) end
    local compiled = assert(loadstring(script))
    return function(obj)
        return setfenv(compiled, setmetatable({obj = obj}, {
            __index = function(_, name) return known[name] or refuse(_, name) end,
            __newindex = refuse,
        }))()
    end
end
"""
"""Argo CD runs Lua 5.1 with the libraries base, table and a part of os. A script that needs another one fails here."""


def told(planned: Plan, generation: int = 1) -> Manifest:
    """The object with this status, as JSON carries it."""
    return of(json.loads(json.dumps(planned.status)), generation)


def of(status: Manifest | None, generation: int = 1) -> Manifest:
    found: Manifest = {"metadata": {"name": "digits", "generation": generation}}
    return found if status is None else found | {"status": status}


def look(pods: Manifest | None, generation: int = 1, *, conditions: Any = (), **spec: Any) -> Plan:
    """At a model whose one pod is like this; none of its pods is there for None."""
    served = {name: value for name, value in spec.items() if name not in ("paused", "rollout")}
    children = applied(plan_of(model(**served)), conditions=list(conditions))
    seen = [pod(pods, template=deployed_template(children))] if pods is not None else []
    return plan_of(model(generation, **spec), children, seen)


def changed_in_a_pause() -> Plan:
    children = applied(plan_of(model()))
    return plan_of(model(2, paused=True, artifact={"uri": "s3://models/other.pt"}), children)


def rolled_back() -> Plan:
    """To the first of two specs, which its pods carry out."""
    _, children = carried_out(model(), {})
    _, children = carried_out(model(2, artifact={"uri": "s3://models/other.pt"}), children)
    back = model(3, artifact={"uri": "s3://models/other.pt"}, rollout={"rollbackTo": 1})
    for _ in range(2):  # what is left over from before goes in the second
        _, children = carried_out(back, children)
    return plan_of(back, children, [pod(ready(), template=deployed_template(children))])


def one_of_two_cannot_start() -> Plan:
    children = applied(plan_of(model(replicas=2)), readyReplicas=1)
    template = deployed_template(children)
    pods = [pod(ready(), template=template), pod(NO_SECRET, template=template, name="digits-2")]
    return plan_of(model(replicas=2), children, pods)


def obstructed() -> Plan:
    """By the artifact's scheme, while it is paused."""
    return plan_of(model(paused=True, artifact={"uri": "file:///digits.pt"}), {})


SITUATIONS: Final = {
    "no status": (of(None), "Progressing"),
    "just made": (of({"observedGeneration": -1}), "Progressing"),
    "looked at for the first time": (told(plan_of(model())), "Progressing"),
    "pods start": (told(look(None)), "Progressing"),
    "no node has room": (told(look(NO_ROOM)), "Progressing"),
    "ready": (told(look(ready())), "Healthy"),
    "changed since it was ready": (told(look(ready()), generation=2), "Progressing"),
    "changed since it failed": (told(look(NO_SECRET), generation=2), "Progressing"),
    "a Secret is missing": (told(look(NO_SECRET)), "Degraded"),
    "no progress until the deadline": (told(look(None, conditions=[OVERDUE])), "Degraded"),
    "refused": (told(plan_of(model(artifact={"uri": "file:///digits.pt"}))), "Degraded"),
    "serves, and one of two cannot start": (told(one_of_two_cannot_start()), "Degraded"),
    "rolled back and ready": (told(rolled_back(), generation=3), "Healthy"),
    "paused and ready": (told(look(ready(), paused=True)), "Healthy"),
    "a change waits for the end of a pause": (told(changed_in_a_pause(), generation=2), "Suspended"),
    "paused while pods start": (told(look(None, paused=True)), "Suspended"),
    "paused while a Secret is missing": (told(look(NO_SECRET, paused=True)), "Degraded"),
    "paused and refused": (told(obstructed()), "Degraded"),
    "no replicas": (told(look(None, replicas=0)), "Suspended"),
}


@cache
def script() -> str:
    (found,) = (item for item in snippets("yaml") if item.page == PAGE and "resource.customizations" in item.text)
    text = yaml.safe_load(found.text)["data"][KEY]
    assert isinstance(text, str)
    return text


def health(found: Manifest, text: str | None = None) -> dict[str, Any]:
    """What Argo CD makes of an object that is not being deleted."""
    lua = lua51.LuaRuntime(unpack_returned_tuples=True, register_eval=False, register_builtins=False)
    run = lua.eval(LOADER)(text or script())
    return dict(run(lua.table_from(found, recursive=True)))


def pairs_of_the_page() -> set[tuple[str, str]]:
    """kstatus' word and Argo CD's, by line of the first table."""
    (first,) = [table for table in tables(PAGE) if "Argo CD shows" in table[0]]
    word = re.compile(r"`(\w+)`")
    rows = [[word.match(cell) for cell in row[1:]] for row in first[2:]]
    return {(kstatus[1], argo[1]) for kstatus, argo in rows if kstatus and argo}


@pytest.mark.parametrize("name", SITUATIONS)
def test_argo_cd_shows_what_the_page_says_and_kstatus_does_not_contradict(name: str) -> None:
    found, wanted = SITUATIONS[name]
    shown = health(found)
    assert shown["status"] == wanted, shown
    if "status" in found:  # without one kstatus takes the kind for one that has none; the CRD always gives one
        assert (phase(found), wanted) in pairs_of_the_page()


def test_every_line_of_the_page_is_seen() -> None:
    seen = {(str(phase(found)), wanted) for found, wanted in SITUATIONS.values()}
    assert pairs_of_the_page() - seen == {(str(Phase.TERMINATING), "Progressing")}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a Secret is missing", 's3-keys" not found'),
        ("paused while a Secret is missing", 's3-keys" not found'),
        ("paused and refused", "file"),
        ("no node has room", "Insufficient memory"),
        ("a change waits for the end of a pause", "apply ConfigMap digits-config"),
        ("no replicas", "spec.replicas is 0"),
        ("just made", "Waiting for the operator"),
    ],
)
def test_argo_cd_shows_the_cause(name: str, words: str) -> None:
    assert words in health(SITUATIONS[name][0])["message"]


@pytest.mark.parametrize("forbidden", ["io.write('a')", "os.execute('a')", "return string.len('a')", "leak = 1"])
def test_a_script_that_needs_more_than_argo_cd_has_would_fail_here(forbidden: str) -> None:
    with pytest.raises(lua51.LuaError, match="Argo CD has no"):
        health(of(None), forbidden)
