"""Regions kept for use again, because the first touch of new memory costs as much as copying into it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from time import monotonic
from typing import Final

from slipway_runtime.engines.worker.region import Region

LEAST_BYTES: Final = 64 * 1024
IDLE_SECONDS: Final = 30.0


class Slab(Region):
    """A region of the pool. Known to workers by `identity`, which is never used twice."""

    __slots__ = ("_ended", "identity")

    identity: int
    _ended: Callable[[int, int], None]

    def __del__(self) -> None:
        super().__del__()
        if hasattr(self, "_ended"):
            self._ended(self.identity, self.size_bytes)


class SlabPool:
    """Sizes are powers of two. What is not given back (a batch whose worker died may still be written to) is freed
    when its last array is gone; what nobody took for a while is let go.

    Bounded by use: there are never more slabs of a size than were in use at the same time within the last
    `IDLE_SECONDS`.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.size_bytes = 0
        """Of all slabs, in use or not; memory is taken only where they were written."""
        self.gone: deque[int] = deque()
        """Identities of slabs that ended and that workers may still have mapped. Whoever tells them empties it."""
        self._clock = clock
        self._identities = count(1)
        self._free: dict[int, deque[tuple[float, Slab]]] = {}

    def take(self, size_bytes: int) -> Slab:
        """At least `size_bytes` of memory with any content. Raises `MemoryError`."""
        size = max(LEAST_BYTES, 1 << (size_bytes - 1).bit_length() if size_bytes else 0)
        free = self._free.get(size)
        if free:
            return free.pop()[1]
        try:
            slab = Slab.create(size)
        except OSError as error:
            raise MemoryError(f"There is no shared memory of {size} bytes: {error.strerror}.") from error
        slab.identity = next(self._identities)
        slab._ended = self._end
        self.size_bytes += size
        return slab

    def give(self, slab: Slab) -> None:
        """Nobody reads or writes it any more. The one given last is taken first: it is still in the caches."""
        self._free.setdefault(slab.size_bytes, deque()).append((self._clock(), slab))

    def sweep(self) -> None:
        """Lets go of what nobody took for `IDLE_SECONDS`."""
        latest = self._clock() - IDLE_SECONDS
        for free in self._free.values():
            while free and free[0][0] < latest:
                free.popleft()

    def forgotten(self) -> Iterator[int]:
        """Empties `gone`."""
        while self.gone:
            yield self.gone.popleft()

    def _end(self, identity: int, size_bytes: int) -> None:
        # Called by the collector in any thread: one append and one addition, nothing that could wait for a lock.
        self.size_bytes -= size_bytes
        self.gone.append(identity)
