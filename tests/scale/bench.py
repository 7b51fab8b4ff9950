"""One run: fill a control plane with ModelDeployments and measure the operator from its first write to its rest."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from slipway_operator.lease import LeaseTimes
from slipway_operator.resources import MODEL, Key
from tests.fixtures.apiserver import ApiServer
from tests.fixtures.operator import OperatorProcess
from tests.scale import samples
from tests.scale.figures import Figures
from tests.scale.processes import cpu_seconds, usage
from tests.scale.world import ScaleError, Tracker, create_all, edit

SWEEP_SECONDS: Final = 300.0
"""The default, to which a sweep's cost is related."""
_FORCED_SWEEP_SECONDS: Final = 10.0
_EDIT_SECONDS: Final = 60.0
_START_SECONDS: Final = 180.0
"""To list thousands of objects, on a machine that does other work."""
_QUIET_SECONDS: Final = 5.0
_PROGRESS_SECONDS: Final = 10.0
_MERGED: Final = frozenset({"events", "leases"})
"""Written by other verbs than server-side apply."""
_TOLD: Final = frozenset({"modeldeployments", "events"})
"""What an edit's progress is told by."""

Tell = Callable[[str], None]


@dataclass
class Bench:
    """The steps in the order in which `measure` takes them; each leaves its figures in `found`."""

    api: ApiServer
    operator: OperatorProcess
    tracker: Tracker
    keys: list[Key]
    found: Figures
    tell: Tell
    edited: int = 0

    async def converge(self) -> None:
        before = samples.applies(await self.api.text("/metrics"))
        operator_before = await self._applies()
        busy = cpu_seconds(self._pid)
        began = time.monotonic()
        creation = asyncio.create_task(create_all(self.api, self.keys))
        limit = 120 + 30 * len(self.keys) / self.found.writes_per_second
        told = began
        while len(self.tracker.converged) < len(self.keys):
            await asyncio.sleep(0.1)
            now = time.monotonic()
            if creation.done() and not self.found.creation_seconds:
                await creation
                self.found.creation_seconds = now - began
            if now - told > _PROGRESS_SECONDS:
                told = now
                self.tell(f"{len(self.tracker.converged)} of {len(self.keys)} serve")
            self._alive()
            if now - began > limit:
                raise ScaleError(
                    f"{len(self.keys) - len(self.tracker.converged)} of {len(self.keys)} objects do not serve after"
                    f" {limit:.0f} s. The operator's log: {self.operator.log}"
                )
        await creation
        self.found.converged_writes = await self._writes()
        self.found.converged_seconds = self.tracker.last_change - began
        await self.quiet()
        self.found.writes = dict(samples.writes_by_resource(await self._metrics()))
        self.found.busy_cpu_seconds = cpu_seconds(self._pid) - busy
        self.found.operator_applies = await self._applies() - operator_before
        self.found.server_applies = samples.applies(await self.api.text("/metrics")) - before

    async def rest(self, seconds: float) -> None:
        """The sweep that may fall into the window is measured elsewhere, so the shortest half of it counts."""
        self.tell(f"at rest for {seconds:.0f} s")
        writes = await self._writes()
        halves = []
        for _ in range(2):
            before, began = cpu_seconds(self._pid), time.monotonic()
            await asyncio.sleep(seconds / 2)
            halves.append(100 * (cpu_seconds(self._pid) - before) / (time.monotonic() - began))
        swept = await self._swept_within(seconds)
        self.found.rest_cpu_percent = min(halves) if swept else sum(halves) / len(halves)
        self.found.rest_writes = await self._writes() - writes
        self._weigh()

    async def edits(self, count: int) -> None:
        """One after the other, each on an object of its own."""
        following = asyncio.create_task(self.tracker.deployments())
        try:
            await self.tracker.all_seen(len(self.keys))
            taken = [await self._edit() for _ in range(count)]
        finally:
            following.cancel()
        self.found.edits = count
        self.found.edit_p50 = samples.percentile(taken, 0.50)
        self.found.edit_p95 = samples.percentile(taken, 0.95)
        await self.quiet()

    async def resync(self, sweeps: int) -> None:
        """Restart with all objects there, then sweep after sweep over a cluster in which there is nothing to do."""
        await asyncio.to_thread(self.operator.stop)
        began = time.monotonic()
        await asyncio.to_thread(self.operator.start, until=None, SLIPWAY_SWEEP_SECONDS=str(_FORCED_SWEEP_SECONDS))
        await asyncio.to_thread(self.operator.wait, "ok: leading", _START_SECONDS)
        self.found.restart_seconds = time.monotonic() - began
        await self.quiet()
        self.found.restart_writes = await self._writes()
        self.tell(f"known again after {self.found.restart_seconds:.1f} s; {sweeps} sweeps")
        costs: list[float] = []
        await self._next_sweep()
        while len(costs) < sweeps:
            before, began = cpu_seconds(self._pid), time.monotonic()
            await self._next_sweep()
            at_rest = self.found.rest_cpu_percent / 100 * (time.monotonic() - began)
            costs.append(max(cpu_seconds(self._pid) - before - at_rest, 0.0))
        self.found.sweep_cpu_seconds = sum(costs) / len(costs)
        self.found.sweeps = sweeps
        self.found.sweep_writes = await self._writes() - self.found.restart_writes
        self._weigh()

    async def take_over(self, second: OperatorProcess) -> None:
        """Two replicas: what an edit waits for when the leader leaves, and when it is killed."""
        following = asyncio.create_task(self.tracker.deployments())
        try:
            await self.tracker.all_seen(len(self.keys))
            await asyncio.to_thread(second.start, until="ok: standby")
            self.found.handover_seconds, writes = await self._succeed(self.operator, second, signal.SIGTERM)
            await asyncio.to_thread(self.operator.start, until="ok: standby")
            self.found.takeover_seconds, more = await self._succeed(second, self.operator, signal.SIGKILL)
        finally:
            following.cancel()
        self.found.takeover_writes = writes + more
        self.found.lease_seconds = LeaseTimes().duration_seconds

    async def _succeed(self, leader: OperatorProcess, standby: OperatorProcess, number: int) -> tuple[float, int]:
        """Seconds until an edit made at the leader's end is done by the standby, and the writes of all that."""
        stopping = asyncio.create_task(asyncio.to_thread(leader.stop, number))
        await asyncio.sleep(0.1)
        seconds = await self._edit()
        await stopping
        await self.quiet(standby)
        self.tell(f"the standby acts {seconds:.1f} s after signal {number}")
        return seconds, await self._writes_to_others(standby)

    async def quiet(self, operator: OperatorProcess | None = None) -> None:
        """Until no write was sent for a while."""
        one = operator or self.operator
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            before = await self._writes_of(one)
            await asyncio.sleep(_QUIET_SECONDS)
            if await self._writes_of(one) == before:
                return
        raise ScaleError(f"the operator never stops writing. Its log: {one.log}")

    @property
    def _pid(self) -> int:
        self._alive()
        assert self.operator.process is not None
        return self.operator.process.pid

    def _alive(self) -> None:
        if self.operator.process is None or self.operator.process.poll() is not None:
            raise ScaleError(f"the operator has ended. Its log: {self.operator.log}")

    def _weigh(self) -> None:
        used = usage(self._pid)
        if used.family_mib >= self.found.family_mib:
            self.found.resident_mib, self.found.family_mib = used.resident_mib, used.family_mib
            self.found.processes = used.processes
        self.found.peak_mib = max(self.found.peak_mib, used.peak_mib)

    async def _edit(self) -> float:
        key = self.keys[self.edited % len(self.keys)]
        self.edited += 1
        with self.tracker.next_deployment(key) as seen:
            began = time.monotonic()
            await self.api.patch(MODEL, key.namespace, key.name, edit(8 + self.edited))
            try:
                return await asyncio.wait_for(seen, _EDIT_SECONDS) - began
            except TimeoutError:
                raise ScaleError(f"an edit of {key} has not reached its Deployment in {_EDIT_SECONDS:.0f} s.") from None

    async def _metrics(self, operator: OperatorProcess | None = None) -> str:
        status, text = await asyncio.to_thread((operator or self.operator).fetch, "/metrics")
        if status != 200:
            raise ScaleError(f"the operator's metrics answer with status {status}")
        return text

    async def _writes(self) -> int:
        return await self._writes_of(self.operator)

    async def _writes_of(self, operator: OperatorProcess) -> int:
        return samples.writes_by_resource(await self._metrics(operator)).total()

    async def _writes_to_others(self, operator: OperatorProcess) -> int:
        """Children written since its start, beside those of the one edit: Deployment, revision, the configuration
        before and, without the older one, after the rollout."""
        written = samples.writes_by_resource(await self._metrics(operator))
        edited = Counter(configmaps=2, deployments=1, controllerrevisions=1)
        return (Counter({name: count for name, count in written.items() if name not in _TOLD}) - edited).total()

    async def _applies(self) -> int:
        found = samples.samples(await self._metrics(), "slipway_operator_api_requests_total")
        return int(
            sum(number for labels, number in found if labels["verb"] == "PATCH" and labels["resource"] not in _MERGED)
        )

    async def _swept_at(self) -> float:
        return samples.value(await self._metrics(), "slipway_operator_sweep_completed_timestamp_seconds")

    async def _swept_within(self, seconds: float) -> bool:
        return time.time() - await self._swept_at() < seconds + _QUIET_SECONDS

    async def _next_sweep(self) -> None:
        before = await self._swept_at()
        deadline = time.monotonic() + 120
        while await self._swept_at() == before:
            if time.monotonic() > deadline:
                raise ScaleError("no sweep has come to its end in 120 s")
            await asyncio.sleep(0.25)
