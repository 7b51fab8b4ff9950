"""Other batching policies, re-implemented from their sources' or papers' descriptions, with one setting each.

They serve in order of arrival. Where a rival needs the profile of the hardware it is given the true one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from tests.simulation.engine import Turn
from tests.simulation.hardware import Hardware


class Queue:
    """First come, first served: what all rivals share. By itself: as many as wait, up to the largest batch."""

    name = "greedy, no wait (Triton, TEI, Ray Serve defaults)"

    def __init__(self, hardware: Hardware, rng: np.random.Generator) -> None:
        self.hardware = hardware
        self.table = hardware.table
        self.target = hardware.target_seconds
        self.largest = hardware.max_batch_size
        self.waiting: deque[tuple[int, float]] = deque()

    def offer(self, request: int, now: float) -> bool:
        self.waiting.append((request, now))
        return True

    def turn(self, now: float) -> Turn:
        self.shed(now)
        if not self.waiting:
            return Turn()
        size, wake_at = self.choose(now)
        return Turn([self.waiting.popleft()[0] for _ in range(size)], wake_at)

    def complete(self, batch: Sequence[int], started_at: float, now: float) -> None:
        pass

    def shed(self, now: float) -> None:
        pass

    def choose(self, now: float) -> tuple[int, float | None]:
        """Rows to run now, or 0 and when to ask again. Something waits."""
        return min(len(self.waiting), self.largest), None

    def head_age(self, now: float) -> float:
        return now - self.waiting[0][1]


class Alone(Queue):
    name = "no batching"

    def choose(self, now: float) -> tuple[int, float | None]:
        return 1, None


class Window(Queue):
    """A batch of `size`, or whatever came within `seconds` of its first request."""

    size, seconds = 32, 0.005
    name = "window: 32 or 5 ms"

    def choose(self, now: float) -> tuple[int, float | None]:
        size = min(self.size, self.largest)
        due = self.waiting[0][1] + self.seconds
        if len(self.waiting) >= size or now >= due:
            return min(len(self.waiting), size), None
        return 0, due


class LongWindow(Window):
    seconds = 0.05
    name = "window: 32 or 50 ms"


class KServeWindow(Window):
    seconds = 5.0
    name = "KServe agent default: 32 or 5 s"


class QueueTimeout(Queue):
    name = "greedy, queue timeout = target"

    def shed(self, now: float) -> None:
        while self.waiting and self.head_age(now) >= self.target:
            self.waiting.popleft()


class BoundedQueue(Queue):
    """The bound is Little's law over the true time of the largest batch that fits twice into the target."""

    name = "greedy, queue bounded from the true profile"

    def __init__(self, hardware: Hardware, rng: np.random.Generator) -> None:
        super().__init__(hardware, rng)
        while self.largest > 1 and 2 * self.table[self.largest] > self.target:
            self.largest -= 1
        seconds = self.table[self.largest]
        self.bound = max(self.largest, int((self.target - seconds) * self.largest / seconds))

    def offer(self, request: int, now: float) -> bool:
        return len(self.waiting) < self.bound and super().offer(request, now)


class Shrinking(Queue):
    """Refuses at arrival what is predicted late, and later shrinks the batch to what its head can wait for. Knows the
    true profile and drops nothing: small batches make the next head later still."""

    name = "admission, shrinks batches, drops none (true profile)"
    margin = 1.18

    def __init__(self, hardware: Hardware, rng: np.random.Generator) -> None:
        super().__init__(hardware, rng)
        while self.largest > 1 and 2 * self.table[self.largest] > self.target:
            self.largest -= 1
        self.free_at = 0.0

    def offer(self, request: int, now: float) -> bool:
        batches, rest = divmod(len(self.waiting), self.largest)
        wait = max(0.0, self.free_at - now) + batches * self.table[self.largest]
        return wait + self.table[rest + 1] <= self.target and super().offer(request, now)

    def choose(self, now: float) -> tuple[int, float | None]:
        slack = self.target - self.head_age(now)
        size = min(len(self.waiting), self.largest)
        while size > 1 and self.margin * self.table[size] > slack:
            size -= 1
        self.free_at = now + self.table[size]
        return size, None


class Clipper(Queue):
    """The batch limit grows by one while full batches take less than a share of the target, and shrinks by a tenth."""

    share = 1.0
    name = "Clipper AIMD, batch within the target"

    def __init__(self, hardware: Hardware, rng: np.random.Generator) -> None:
        super().__init__(hardware, rng)
        self.limit = 1.0

    def choose(self, now: float) -> tuple[int, float | None]:
        return min(len(self.waiting), int(self.limit)), None

    def complete(self, batch: Sequence[int], started_at: float, now: float) -> None:
        if now - started_at > self.share * self.target:
            self.limit = max(1.0, self.limit * 0.9)
        elif len(batch) >= int(self.limit):
            self.limit = min(float(self.largest), self.limit + 1)


class HalfClipper(Clipper):
    share = 0.5
    name = "Clipper AIMD, batch within half the target"


class DroppingClipper(HalfClipper):
    name = "Clipper AIMD, half the target, drops late heads"

    def __init__(self, hardware: Hardware, rng: np.random.Generator) -> None:
        super().__init__(hardware, rng)
        self.mean_seconds = self.table[1]

    def shed(self, now: float) -> None:
        while self.waiting and self.head_age(now) + self.mean_seconds > self.target:
            self.waiting.popleft()

    def complete(self, batch: Sequence[int], started_at: float, now: float) -> None:
        super().complete(batch, started_at, now)
        self.mean_seconds += 0.2 * (now - started_at - self.mean_seconds)


class BentoML(Queue):
    """A line through the last 50 batches and the mean wait of their heads, refreshed every 5 s; wakes every 1 ms."""

    name = "BentoML, max_latency = target"
    period, refresh_seconds, decay = 0.001, 5.0, 0.95

    def __init__(self, hardware: Hardware, rng: np.random.Generator) -> None:
        super().__init__(hardware, rng)
        sizes = [1] * 7 + [2, 3]
        noise = hardware.noise_block(rng, len(sizes)).tolist()
        runs = [(n, self.table[n] * factor, 0.0) for n, factor in zip(sizes, noise, strict=True)]
        self.batches: deque[tuple[int, float, float]] = deque(runs, maxlen=50)
        self.refreshed_at = float("-inf")
        self.head_waits: dict[int, float] = {}
        self._fit()

    def _fit(self) -> None:
        sizes = np.array([[n, 1.0] for n, _, _ in self.batches])
        seconds = np.array([run for _, run, _ in self.batches])
        slope, offset = np.linalg.lstsq(sizes, seconds, rcond=None)[0]
        self.per_row, self.fixed = max(1e-6, float(slope)), max(0.0, float(offset))
        self.wait = sum(wait for _, _, wait in self.batches) / len(self.batches)

    def shed(self, now: float) -> None:
        while len(self.waiting) > 1:
            if self.head_age(now) + self.per_row * len(self.waiting) + self.fixed < self.target:
                break
            self.waiting.popleft()

    def choose(self, now: float) -> tuple[int, float | None]:
        count = len(self.waiting)
        newest_age = now - self.waiting[-1][1]
        if count < self.largest and count * (newest_age + self.period + self.per_row) <= self.wait * self.decay:
            return 0, now + self.period
        self.head_waits[self.waiting[0][0]] = self.head_age(now)
        return min(count, self.largest), None

    def complete(self, batch: Sequence[int], started_at: float, now: float) -> None:
        self.batches.append((len(batch), now - started_at, self.head_waits.pop(batch[0])))
        if now - self.refreshed_at >= self.refresh_seconds:
            self.refreshed_at = now
            self._fit()


RIVALS: tuple[type[Queue], ...] = (
    Alone,
    Queue,
    Window,
    LongWindow,
    KServeWindow,
    QueueTimeout,
    BoundedQueue,
    Shrinking,
    Clipper,
    HalfClipper,
    DroppingClipper,
    BentoML,
)
