"""Who made and who deleted what, by the API server's own audit log: nothing may have been created twice.

An API server that is killed loses the line of what it was just doing. So each request is told when it comes as well:
one that came and has no answer may have been carried out or not, and so may one that was answered with 5xx.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from slipway_operator.resources import CHILDREN, MODEL
from tests.chaos.acts import Place
from tests.cluster.errors import ClusterError
from tests.fixtures.grants import IDENTITY
from tests.fixtures.objects import Manifest

_KINDS: Final = {(resource.group, resource.plural): resource.kind for resource in (*CHILDREN, MODEL)}
_COLLECTOR: Final = "system:serviceaccount:kube-system:generic-garbage-collector"
_EVENT: Final = b'{"kind":"Event"'
_CAME: Final = "RequestReceived"

Owner = tuple[str, str]
"""Name and UID of a ModelDeployment."""

RULES: Final[list[dict[str, Any]]] = [
    {
        "level": "RequestResponse",
        "verbs": ["create", "patch", "delete"],
        "resources": [{"group": group, "resources": [plural]} for group, plural in _KINDS],
        "omitManagedFields": True,
    }
]
"""What the judgement needs to be in the log: whoever makes or deletes a model or a child, and what comes of it."""


class AuditLog:
    """Reads on from where it was, while the API server writes; a server that comes back appends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.torn = 0
        """Lines that a killed API server did not bring to their end."""

    def read(self) -> list[dict[str, Any]]:
        if self._path.stat().st_size < self._offset:
            raise ClusterError(f"{self._path}: another log was begun, and what the one before told is lost")
        with self._path.open("rb") as log:
            log.seek(self._offset)
            lines = log.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()
        self._offset += sum(map(len, lines))
        return list(self._events(lines))

    def _events(self, lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                self.torn += 1
                # The next server's first line follows where the killed one's last breaks off.
                if (begin := line.rfind(_EVENT)) > 0:
                    yield json.loads(line[begin:])


@dataclass(frozen=True)
class Deed:
    """One request that may make, change or delete an object."""

    at: str
    """When it was answered; when it came if it was not."""
    user: str
    verb: str
    place: Place
    code: int
    """0: no answer is told."""
    uid: str = ""
    """Of the object, where the answer tells."""
    owner: Owner | None = None

    @property
    def answered(self) -> bool:
        """Else it may have been carried out or not."""
        return 0 < self.code < HTTPStatus.INTERNAL_SERVER_ERROR

    @property
    def made(self) -> bool:
        """200 answers an apply of what was there."""
        return self.code == HTTPStatus.CREATED

    @property
    def deleted(self) -> bool:
        return self.deletes and self.code in (HTTPStatus.OK, HTTPStatus.ACCEPTED)

    @property
    def deletes(self) -> bool:
        return self.verb == "delete"

    def __str__(self) -> str:
        return f"{self.at}  {self.verb} of {' '.join(self.place)} {self.uid} by {self.user}: {self.code or 'no answer'}"


@dataclass
class Account:
    """Of one namespace."""

    created: int = 0
    created_again: int = 0
    """Of `created`: for the same owner under the same name, after the one before had been deleted."""
    unanswered: int = 0
    violations: list[str] = field(default_factory=list)


def deeds(events: Iterable[Mapping[str, Any]]) -> dict[str, list[Deed]]:
    """By namespace; without requests that were only tried."""
    final: dict[str, Mapping[str, Any]] = {}
    for event in events:
        if event["auditID"] not in final or event["stage"] != _CAME:
            final[event["auditID"]] = event
    found: dict[str, list[Deed]] = defaultdict(list)
    for event in final.values():
        if (deed := _deed(event)) is not None:
            found[event["objectRef"]["namespace"]].append(deed)
    return found


def _deed(event: Mapping[str, Any]) -> Deed | None:
    target = event.get("objectRef") or {}
    kind = _KINDS.get((target.get("apiGroup", ""), target.get("resource", "")))
    if kind is None or "namespace" not in target or "subresource" in target or "dryRun" in event["requestURI"]:
        return None
    result = event.get("responseObject") or {}
    metadata = result.get("metadata") or {}
    return Deed(
        at=event["stageTimestamp"],
        user=event["user"]["username"],
        verb=event["verb"],
        place=(kind, target.get("name") or metadata.get("name", "")),
        code=(event.get("responseStatus") or {}).get("code", 0) if event["stage"] == "ResponseComplete" else 0,
        uid=metadata.get("uid") or (result.get("details") or {}).get("uid", ""),
        owner=owner_of(result),
    )


def trail(told: Iterable[Deed], problems: Iterable[str]) -> list[str]:
    """What was done to the objects that the problems name, in the order of time."""
    words = " ".join(problems)
    return sorted(str(deed) for deed in told if re.search(rf"\b{re.escape(' '.join(deed.place))}(?![\w-])", words))


def owner_of(manifest: Manifest) -> Owner | None:
    for one in (manifest.get("metadata") or {}).get("ownerReferences") or []:
        if one.get("controller") and one["kind"] == MODEL.kind:
            return one["name"], one["uid"]
    return None


def judge(told: Iterable[Deed], live: Iterable[Manifest], needless: Mapping[tuple[str, str], int]) -> Account:
    """`live`: children as they are now. `needless`: how often acts may have made a model's child of a kind needless."""
    told = list(told)
    births = [deed for deed in told if deed.made and deed.owner is not None]
    deaths = {deed.uid: deed for deed in told if deed.deleted}
    cut_off = [deed for deed in told if not deed.answered]
    account = Account(created=len(births), unanswered=len(cut_off))
    by_name: dict[tuple[Owner, Place], list[Deed]] = defaultdict(list)
    for birth in births:
        assert birth.owner is not None
        by_name[(birth.owner, birth.place)].append(birth)
    for (owner, place), made in by_name.items():
        account.created_again += len(made) - 1
        account.violations += _twice(place, made, deaths, cut_off)
        account.violations += _collected(owner, made, deaths, cut_off)
    account.violations += _deleted(births, deaths, needless)
    account.violations += _untold(live, births, cut_off)
    return account


def _twice(place: Place, made: list[Deed], deaths: Mapping[str, Deed], cut_off: list[Deed]) -> Iterator[str]:
    """Of all that were made for one owner under one name, all but one must have been deleted."""
    undeleted = [birth for birth in made if birth.uid not in deaths]
    perhaps = sum(deed.deletes and deed.place == place for deed in cut_off)
    if len(undeleted) > 1 + perhaps:
        times = ", ".join(sorted(birth.at for birth in undeleted))
        yield f"{' '.join(place)} was created {len(undeleted)} times for the same owner, and not deleted: {times}"


def _collected(owner: Owner, made: list[Deed], deaths: Mapping[str, Deed], cut_off: list[Deed]) -> Iterator[str]:
    """The garbage collector takes what has lost its owner, and nothing else."""
    name, uid = owner
    perhaps = any(deed.deletes and deed.place == (MODEL.kind, name) for deed in cut_off)
    for birth in made:
        death = deaths.get(birth.uid)
        if death is not None and death.user == _COLLECTOR and uid not in deaths and not perhaps:
            yield f"{' '.join(birth.place)} was collected at {death.at}, and its owner had not been deleted"


def _deleted(
    births: Iterable[Deed], deaths: Mapping[str, Deed], needless: Mapping[tuple[str, str], int]
) -> Iterator[str]:
    """The operator deletes what was switched off, as often as it was; else two views of the spec fight each other."""
    owners = {birth.uid: birth.owner[0] for birth in births if birth.owner is not None}
    by_operator = Counter(
        (owners[uid], deed.place[0])
        for uid, deed in deaths.items()
        if uid in owners and deed.user.endswith(f":{IDENTITY}")
    )
    for (model, kind), times in by_operator.items():
        if times > needless.get((model, kind), 0):
            yield (
                f"the operator deleted the {kind} of {model} {times} times, and at most"
                f" {needless.get((model, kind), 0)} acts made it needless"
            )


def _untold(live: Iterable[Manifest], births: Iterable[Deed], cut_off: Iterable[Deed]) -> Iterator[str]:
    """A log that does not tell of what is there would find nothing wrong."""
    uids = {birth.uid for birth in births}
    perhaps = {deed.place for deed in cut_off if not deed.deletes}
    for item in live:
        place = (item["kind"], item["metadata"]["name"])
        if owner_of(item) is not None and item["metadata"]["uid"] not in uids and place not in perhaps:
            yield f"the audit log does not tell who made {' '.join(place)}"
