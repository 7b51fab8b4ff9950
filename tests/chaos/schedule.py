"""What happens in one namespace: a list of acts that one seed decides. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from slipway_operator.names import COMPONENT, MANAGED_BY_LABEL, MANIFEST_HASH_ANNOTATION, MODEL_LABEL
from slipway_operator.resources import (
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    INGRESS,
    NETWORK_POLICY,
    SERVICE,
    SERVICE_ACCOUNT,
)

Patch = dict[str, Any]

STEADY: Final = "steady"
"""The model that nobody touches: its pods and children must not notice anything."""
MODELS: Final = ("alpha", "beta", "gamma")
ACTS_PER_SECOND: Final = 2.0
_TAKEN: Final = (CONFIG_MAP, SERVICE_ACCOUNT, SERVICE)
_TEMPLATES: Final = {"create": 1, "edit": 1, "remove child": 1}
_ALWAYS: Final = (CONFIG_MAP, SERVICE_ACCOUNT, SERVICE, DEPLOYMENT)
_SOMETIMES: Final = (DISRUPTION_BUDGET, NETWORK_POLICY, INGRESS)

VERBS: Final = {
    "create": 5,
    "edit": 6,
    "scale": 3,
    "refused": 2,
    "unallowed": 1,
    "pause": 2,
    "toggle": 4,
    "delete": 2,
    "tamper": 7,
    "decorate": 2,
    "remove child": 4,
    "remove pod": 2,
    "squat": 2,
    "unsquat": 2,
}
"""What may happen, and how often beside the others."""
_ABOUT_ABSENT: Final = frozenset({"create", "squat", "unsquat"})
"""These are about models that are not there."""


@dataclass(frozen=True)
class Act:
    """`at` seconds after the start. `kind` is that of a child where one is meant."""

    at: float
    verb: str
    model: str
    kind: str = ""
    body: Patch = field(default_factory=dict)
    templates: int = 0
    """Pod templates that this may bring about at most, the operator's repair included."""

    @property
    def needless(self) -> frozenset[str]:
        """Kinds of which this may make a child needless, so that the operator deletes it."""
        if self.verb not in _CHANGES:
            return frozenset()
        spec = self.body["spec"]
        return frozenset(
            # A revision more may be one too many.
            {CONTROLLER_REVISION.kind}
            | ({INGRESS.kind} if "exposure" in spec and spec["exposure"] is None else set())
            | ({NETWORK_POLICY.kind} if "networkPolicy" in spec and spec["networkPolicy"] is None else set())
            | ({DISRUPTION_BUDGET.kind} if spec.get("replicas", 2) < 2 else set())
        )

    def __str__(self) -> str:
        what = " ".join(part for part in (self.verb, self.kind, "of", self.model) if part)
        return f"{self.at:6.2f} s  {what}  {self.body or ''}".rstrip()


def schedule(seed: int, seconds: float) -> list[Act]:
    """The same for the same arguments, always."""
    chance = random.Random(f"acts {seed}")
    moments = sorted(chance.uniform(0, seconds) for _ in range(round(seconds * ACTS_PER_SECOND)))
    found = [Act(0.0, "create", name, body={"spec": _spec(chance)}, templates=1) for name in MODELS[:2]]
    there = set(MODELS[:2])
    verbs, weights = list(VERBS), list(VERBS.values())
    for at in moments:
        verb = chance.choices(verbs, weights)[0]
        names = [name for name in MODELS if (name in there) != (verb in _ABOUT_ABSENT)]
        if not names:
            continue
        act = _act(chance, at, verb, chance.choice(names))
        there |= {act.model} if verb == "create" else set()
        there -= {act.model} if verb == "delete" else set()
        found.append(act)
    return found


def _act(chance: random.Random, at: float, verb: str, name: str) -> Act:
    if verb == "tamper":
        return _tamper(chance, at, name)
    if verb in _CHANGES:
        return Act(at, verb, name, body={"spec": _CHANGES[verb](chance)}, templates=_TEMPLATES.get(verb, 0))
    kinds = {"decorate": _ALWAYS, "remove child": (*_ALWAYS, *_SOMETIMES), "squat": _TAKEN, "unsquat": _TAKEN}
    kind = chance.choice(kinds[verb]).kind if verb in kinds else ""
    body = {"metadata": {"annotations": {"example.com/note": "mine"}}} if verb == "decorate" else {}
    return Act(at, verb, name, kind, body, _TEMPLATES.get(verb, 0))


def _spec(chance: random.Random) -> Patch:
    found: Patch = {
        "artifact": {"uri": f"s3://models/{chance.randint(0, 9)}.pt"},
        "replicas": chance.randint(1, 3),
    }
    for toggle in _toggles():
        if chance.random() < 0.3:
            found |= {name: value for name, value in toggle.items() if value is not None}
    return found


def _edit(chance: random.Random) -> Patch:
    return chance.choice(
        (
            {"artifact": {"uri": f"s3://models/{chance.randint(0, 99)}.pt"}},
            {"batching": {"mode": "Static", "maxBatchSize": chance.randint(1, 64)}},
            {"resources": {"requests": {"cpu": f"{chance.randint(1, 40) * 100}m"}}},
            {"traffic": {"requestTimeoutSeconds": chance.randint(1, 120)}},
        )
    )


def _toggles() -> tuple[Patch, ...]:
    return (
        {"exposure": {"ingress": {"host": "chaos.example.com", "className": "none"}}},
        {"exposure": None},
        {"exposure": {"service": {"port": 8000}}},
        {"networkPolicy": {"clients": [{"podSelector": {"matchLabels": {"app": "client"}}}]}},
        {"networkPolicy": None},
    )


_REFUSED: Final[tuple[Patch, ...]] = (
    {"replicas": -1},
    {"artifact": {"uri": "no uri at all"}},
    {"batching": {"mode": "Disabled", "maxBatchSize": 4}},
    {"exposure": {"service": {"port": 0}}},
)
"""The API server answers 422 to each of them."""

_CHANGES: Final[dict[str, Callable[[random.Random], Patch]]] = {
    "create": _spec,
    "edit": _edit,
    "scale": lambda chance: {"replicas": chance.randint(0, 3)},
    "refused": lambda chance: chance.choice(_REFUSED),
    "unallowed": lambda chance: {"artifact": {"uri": "file:///models/digits.pt"}},
    "pause": lambda chance: {"paused": chance.random() < 0.4},
    "toggle": lambda chance: chance.choice(_toggles()),
}


def _tamper(chance: random.Random, at: float, name: str) -> Act:
    """Fields that the operator owns, set to something else or taken away."""
    common = [
        {"metadata": {"labels": {MANAGED_BY_LABEL: None}}},
        {"metadata": {"labels": {MANAGED_BY_LABEL: "somebody-else"}}},
        {"metadata": {"labels": {MODEL_LABEL: "nobody"}}},
        {"metadata": {"annotations": {MANIFEST_HASH_ANNOTATION: None}}},
    ]
    own: dict[str, list[Patch]] = {
        CONFIG_MAP.kind: [{"data": None}, {"data": {"config.json": "{}"}}],
        SERVICE_ACCOUNT.kind: [{"automountServiceAccountToken": True}],
        SERVICE.kind: [{"spec": {"selector": {"app.kubernetes.io/instance": "nobody"}}}],
        DEPLOYMENT.kind: [
            {"spec": {"replicas": 5}},
            {"spec": {"template": {"spec": {"automountServiceAccountToken": True}}}},
            {"spec": {"template": {"spec": {"containers": [{"name": "runtime", "image": "example.com/evil:1"}]}}}},
        ],
        INGRESS.kind: [{"spec": {"ingressClassName": "other"}}],
        NETWORK_POLICY.kind: [{"spec": {"podSelector": {"matchLabels": {MANAGED_BY_LABEL: COMPONENT}}}}],
        DISRUPTION_BUDGET.kind: [{"spec": {"maxUnavailable": 3}}],
    }
    kind = chance.choice(list(own))
    body = chance.choice(common + own[kind])
    return Act(at, "tamper", name, kind, body, templates=2 if "template" in body.get("spec", {}) else 0)
