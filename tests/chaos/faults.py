"""What happens to the cluster and to the operator's processes, to all namespaces of a group at once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tests.cluster import control_plane, process
from tests.cluster.lifecycle import Cluster
from tests.fixtures.operator import OperatorProcess
from tests.fixtures.proxy import Proxy

KINDS: Final = {
    "kill operator": 4,
    "end operator": 2,
    "stop operator": 2,
    "second operator": 3,
    "standby": 3,
    "drop connections": 3,
    "freeze connections": 3,
    "refuse connections": 2,
    "restart API server": 2,
    "pause etcd": 2,
}
"""What may happen, and how often beside the others."""
FAULTS_PER_SECOND: Final = 0.4
STANDBY_SECONDS: Final = 3.0
"""A Lease's time, after which it may have taken over."""
COLLECTED: Final = "afterwards  the garbage collector, which does not see that an owner is gone, is started anew"
_REVIVAL_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Fault:
    """`at` seconds after the start, for `seconds`."""

    at: float
    kind: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.at:6.2f} s  {self.kind} for {self.seconds:.1f} s"


def faults(group: int, seconds: float) -> list[Fault]:
    """The same for the same arguments, always. One after the other ends before the next of its kind begins."""
    chance = random.Random(f"faults {group}")
    moments = sorted(chance.uniform(0.5, seconds) for _ in range(round(seconds * FAULTS_PER_SECOND)))
    kinds = chance.choices(list(KINDS), list(KINDS.values()), k=len(moments))
    return [Fault(at, kind, chance.uniform(0.3, 3.0)) for at, kind in zip(moments, kinds, strict=True)]


@dataclass
class Faults:
    """Brings them about.

    `second` has a Lease of its own, as if there were none: it acts beside the first, and neither knows of the other.
    `standby` waits for the first one's Lease.
    """

    cluster: Cluster
    proxy: Proxy
    operator: OperatorProcess
    second: OperatorProcess
    standby: OperatorProcess
    told: list[str] = field(default_factory=list)
    revivals: int = 0
    _ended_on_purpose: bool = False

    async def follow(self, planned: list[Fault], begin: float) -> None:
        """Each kind waits for the one before it; different ones overlap."""
        locks = {kind: asyncio.Lock() for kind in sorted(set(_WHOSE.values()))}
        async with asyncio.TaskGroup() as group:
            for fault in planned:
                group.create_task(self._at(fault, begin, locks[_WHOSE[fault.kind]]))

    async def heal(self) -> None:
        """The network works, and the first operator runs."""
        self.proxy.resume()
        await self._revive()

    async def restart_collector(self) -> None:
        """The controller manager, and with it Kubernetes' garbage collector, which then looks at every owner anew.

        One that was deleted and made anew under its name while the collector was cut off looks to it like one that was
        changed: what belonged to the first is never collected.
        """
        state = self.cluster.state
        assert state is not None
        self.told.append(COLLECTED)
        await asyncio.to_thread(process.stop, state, "kube-controller-manager", 0.0)
        await asyncio.to_thread(control_plane.start_controller_manager, state)

    async def supervise(self) -> None:
        """The kubelet's part: what ends by itself, having lost its Lease for one, is started again. Until cancelled."""
        while True:
            await asyncio.sleep(_REVIVAL_SECONDS)
            if not self._ended_on_purpose:
                await self._revive()

    async def _revive(self) -> None:
        if self.operator.process is None or self.operator.process.poll() is not None:
            self.revivals += 1
            await self._start(self.operator)

    async def _at(self, fault: Fault, begin: float, lock: asyncio.Lock) -> None:
        await asyncio.sleep(max(begin + fault.at - asyncio.get_running_loop().time(), 0))
        async with lock:
            self.told.append(str(fault))
            await _DOINGS[fault.kind](self, fault.seconds)

    async def _end_operator(self, number: int, seconds: float) -> None:
        self._ended_on_purpose = True
        await asyncio.to_thread(self.operator.stop, number)
        await asyncio.sleep(seconds)
        await self._start(self.operator)
        self._ended_on_purpose = False

    async def _kill(self, seconds: float) -> None:
        await self._end_operator(signal.SIGKILL, seconds)

    async def _terminate(self, seconds: float) -> None:
        await self._end_operator(signal.SIGTERM, seconds)

    async def _stop(self, seconds: float) -> None:
        running = self.operator.process
        if running is not None and running.poll() is None:
            running.send_signal(signal.SIGSTOP)
            await asyncio.sleep(seconds)
            running.send_signal(signal.SIGCONT)

    async def _second(self, seconds: float) -> None:
        await self._visit(self.second, seconds)

    async def _standby(self, seconds: float) -> None:
        await self._visit(self.standby, seconds + STANDBY_SECONDS)

    async def _visit(self, operator: OperatorProcess, seconds: float) -> None:
        await self._start(operator)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(operator.kill)

    async def _drop(self, seconds: float) -> None:
        self.proxy.drop()
        await asyncio.sleep(seconds)

    async def _freeze(self, seconds: float) -> None:
        await self._cut(self.proxy.freeze, seconds)

    async def _refuse(self, seconds: float) -> None:
        await self._cut(self.proxy.refuse, seconds)

    async def _cut(self, begin: Callable[[], None], seconds: float) -> None:
        begin()
        await asyncio.sleep(seconds)
        self.proxy.resume()

    async def _restart_apiserver(self, seconds: float) -> None:
        state = self.cluster.state
        assert state is not None
        await asyncio.to_thread(process.stop, state, "kube-apiserver", 0.0)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(control_plane.start_apiserver, state)

    async def _pause_etcd(self, seconds: float) -> None:
        state = self.cluster.state
        assert state is not None
        pid = state.processes["etcd"].identity.pid
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        os.kill(pid, signal.SIGCONT)

    async def _start(self, operator: OperatorProcess) -> None:
        """It need not become ready: there may be nothing to talk to at this moment."""
        await asyncio.to_thread(operator.start, until=None)


_WHOSE: Final = {
    "kill operator": "process",
    "end operator": "process",
    "stop operator": "process",
    "second operator": "second",
    "standby": "standby",
    "drop connections": "network",
    "freeze connections": "network",
    "refuse connections": "network",
    "restart API server": "API server",
    "pause etcd": "etcd",
}
_DOINGS: Final = {
    "kill operator": Faults._kill,
    "end operator": Faults._terminate,
    "stop operator": Faults._stop,
    "second operator": Faults._second,
    "standby": Faults._standby,
    "drop connections": Faults._drop,
    "freeze connections": Faults._freeze,
    "refuse connections": Faults._refuse,
    "restart API server": Faults._restart_apiserver,
    "pause etcd": Faults._pause_etcd,
}
