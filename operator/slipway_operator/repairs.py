"""A child that somebody else changed or deleted: what was done to it, by whom, and how often it was put back. Pure.

A first apply finds no child that was there before; an edit of the spec and another version of the operator render
another manifest. None of them is a repair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from slipway_operator.names import MANIFEST_HASH_ANNOTATION
from slipway_operator.records import ChildRecord
from slipway_operator.render.manifest import Manifest
from slipway_operator.resources import ChildRef

REPAIRED: Final = "Repaired"
"""Reason of the event."""
CAUSES: Final = ("changed", "deleted")
FIELDS_LIMIT: Final = 5
"""Fields that are named."""
FIGHT: Final = 3
"""Repairs of one child after which it is no slip any more."""
QUIET_SECONDS: Final = 600.0
"""After so long without a repair they are counted from one again."""
PACE_SECONDS: Final = 300.0
"""Between two events about a child that is fought over."""

Difference = tuple[str, str]
_NAMED_WITHIN: Final = ("metadata", "spec")
"""Parts of which the next name is told too. Further down, and in a ConfigMap's data, names are what somebody chose."""


@dataclass(frozen=True)
class Damage:
    """What was found. `before` is empty of a child that is gone."""

    deleted: bool
    before: frozenset[Difference] = frozenset()
    """Where it did not hold our values, and what it held."""
    writer: str = ""
    """The field manager that wrote it last, other than ours; empty when it names none."""


@dataclass(frozen=True)
class Repair:
    """A child that was put back. `fields` are the names that differed, without their values."""

    ref: ChildRef
    cause: Literal["changed", "deleted"]
    fields: tuple[str, ...] = ()
    writer: str = ""

    def __str__(self) -> str:
        if self.cause == "deleted":
            return f"{self.ref}, which was deleted"
        more = len(self.fields) - FIELDS_LIMIT
        named = ", ".join(self.fields[:FIELDS_LIMIT]) + (f" and {more} more" if more > 0 else "")
        return f"{self.ref}, of which {named} differed (written last by {self.writer or 'nobody it names'})"


@dataclass(frozen=True)
class Repeats:
    """How often a child was put back in a row. Monotonic seconds."""

    count: int
    last: float
    told: float
    """When an event was last told."""


def find_damage(
    manifest: Manifest, live: ChildRecord | None, differences: frozenset[Difference], *, was_there: bool
) -> Damage | None:
    """What others did to a child that is to be applied; None when it is applied for a reason of our own.

    `was_there`: it went away without our doing since this generation was taken up.
    """
    if live is None:
        return Damage(deleted=True) if was_there else None
    # Whoever replaces an object whole takes our mark from it as well.
    wanted = manifest["metadata"]["annotations"][MANIFEST_HASH_ANNOTATION]
    same = live.manifest_hash == wanted or (live.manifest_hash is None and live.applied_by_us)
    return Damage(deleted=False, before=differences, writer=live.last_writer) if same and differences else None


def repair_of(ref: ChildRef, damage: Damage, after: frozenset[Difference]) -> Repair | None:
    """`after`: where the child still does not hold our values. None when nothing became of the apply: a webhook writes
    other values, as it did before."""
    if damage.deleted:
        return Repair(ref, "deleted")
    restored = {path for path, _ in damage.before} - {path for path, _ in after}
    return (
        Repair(ref, "changed", tuple(sorted({_field(path) for path in restored})), damage.writer) if restored else None
    )


def count(before: Repeats | None, now: float) -> tuple[Repeats, bool]:
    """With one more repair, and whether an event tells it: the first ones, then one in a while."""
    again = before if before is not None and now - before.last < QUIET_SECONDS else None
    counted = again.count + 1 if again is not None else 1
    told = again is None or counted <= FIGHT or now - again.told >= PACE_SECONDS
    return Repeats(counted, now, now if again is None or told else again.told), told


def words(repair: Repair, repeats: Repeats) -> str:
    """Of one event. Without a number, so that events that tell the same are one with a count."""
    if repeats.count < FIGHT:
        return f"Put back {repair}. Change the ModelDeployment instead, or pause it with spec.paused."
    return (
        f"Put back again and again: {repair}. Two writers are at odds: take this child from the other one, such as a"
        " HorizontalPodAutoscaler or a GitOps tool, which may act on the ModelDeployment instead."
    )


def _field(path: str) -> str:
    names = [name.partition("[")[0] for name in path.split(".")[1:]]
    return ".".join(names[:2] if names[0] in _NAMED_WITHIN else names[:1])
