"""Who may act: one holder of a Lease, told apart by versions of the object and the process's own clock. Pure.

No timestamp of another process is ever compared with our own time. A holder counts from the moment before it asked;
whoever waits counts from the moment after it saw the Lease change. So the holder always gives up first, as long as no
clock runs faster than another by more than `duration_seconds / renew_deadline_seconds`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

API_VERSION: Final = "coordination.k8s.io/v1"


@dataclass(frozen=True)
class LeaseTimes:
    """`renew_deadline_seconds` after its last renewal a holder sends no more writes; after `duration_seconds` all of
    them have ended and another may take over."""

    duration_seconds: int = 15
    renew_deadline_seconds: float = 10.0
    retry_seconds: float = 2.0
    """Between two renewals. Whoever waits looks twice as often."""


class Standing(StrEnum):
    STANDBY = "standby"
    LEADING = "leading"
    LOST = "lost"
    """Another acted since: what this process knows of its own doings is void."""
    RELEASED = "released"


@dataclass(frozen=True)
class Record:
    """What a Lease object says. `holder` empty: nobody."""

    holder: str
    duration_seconds: int
    transitions: int
    acquired: str
    version: str

    @classmethod
    def parse(cls, body: dict[str, Any]) -> Record:
        spec = body.get("spec") or {}
        return cls(
            holder=spec.get("holderIdentity") or "",
            duration_seconds=spec.get("leaseDurationSeconds") or 0,
            transitions=spec.get("leaseTransitions") or 0,
            acquired=spec.get("acquireTime") or "",
            version=body["metadata"]["resourceVersion"],
        )


class Lease:
    """One process's view of the Lease and its own part in it. `now` is seconds of one steady clock."""

    def __init__(self, identity: str, times: LeaseTimes) -> None:
        self.identity = identity
        self.times = times
        self.standing = Standing.STANDBY
        self.record: Record | None = None
        """As last seen or written."""
        self.former_seen_at: float | None = None
        """When the holder before us was last seen to act."""
        self._changed_at = 0.0
        self._renewed_at = 0.0
        self._promised_seconds = 0
        self._ever_seen = False
        self._acquired = ""

    def saw(self, record: Record | None, now: float) -> None:
        """The object as the API server answered just now; None where there is none."""
        if self.standing is Standing.LEADING and record is not None and not self._is_ours(record):
            self.standing = Standing.LOST
        if (record and record.version) != (self.record and self.record.version):
            self._changed_at = now
            self._ever_seen = True
            self._promised_seconds = record.duration_seconds if record is not None else 0
        self.record = record

    def may_write(self, now: float) -> bool:
        """Whether to create, take or renew the Lease now."""
        if self.standing in (Standing.LOST, Standing.RELEASED):
            return False
        if self.record is None:
            # A Lease that was deleted may have had a holder, who does not know of it yet and still acts.
            return self.standing is Standing.LEADING or not self._ever_seen or now >= self._expires_at()
        return self.record.holder in ("", self.identity) or now >= self._expires_at()

    def seconds_to_wait(self, now: float) -> float:
        """Until there is something to do, if nothing is heard before."""
        pause = self.times.retry_seconds
        if self.standing is Standing.LEADING:
            return pause
        left = self._expires_at() - now
        return min(pause / 2, left) if left > 0 else pause / 2

    def body(self, name: str, namespace: str, utc: datetime) -> dict[str, Any]:
        """The object that makes us the holder, or nobody once released. Its version lets only one writer win."""
        moment = _micro_time(utc)
        record = self.record
        metadata = {"name": name, "namespace": namespace}
        transitions = 0
        if record is not None:
            metadata["resourceVersion"] = record.version
            transitions = record.transitions + (0 if record.holder == self.identity else 1)
        return {
            "apiVersion": API_VERSION,
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": "" if self.standing is Standing.RELEASED else self.identity,
                "leaseDurationSeconds": self.times.duration_seconds,
                "acquireTime": moment if self.standing is Standing.STANDBY else self._acquired,
                "renewTime": moment,
                "leaseTransitions": transitions,
            },
        }

    def wrote(self, record: Record, asked_at: float) -> None:
        """The API server took our object; `asked_at` is from before the request."""
        if self.standing is Standing.STANDBY:
            self.standing = Standing.LEADING
            self.former_seen_at = self._changed_at if self.record is not None else None
        self.record = record
        self._acquired = record.acquired
        self._renewed_at = asked_at

    def let_go(self) -> None:
        """From here on nothing may be written, whatever comes of telling the others."""
        if self.standing is not Standing.LOST:
            self.standing = Standing.RELEASED

    def seconds_for_a_write(self, now: float) -> float:
        """How long a write that is sent now may take; 0 where none may be sent."""
        if self.standing is not Standing.LEADING or now >= self._renewed_at + self.times.renew_deadline_seconds:
            return 0.0
        return self._renewed_at + self.times.duration_seconds - now

    def _is_ours(self, record: Record) -> bool:
        """The time tells us from another process with our name: a container that was started again, say."""
        return (record.holder, record.acquired) == (self.identity, self._acquired)

    def _expires_at(self) -> float:
        """By the holder's own promise, which may differ from ours while an upgrade is rolled out."""
        return self._changed_at + max(self._promised_seconds, self.times.duration_seconds)


def _micro_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
