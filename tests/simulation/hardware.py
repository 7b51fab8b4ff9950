"""What the simulated models cost: time per batch size, with noise and rare spikes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_NOISE_BLOCK = 4096
_BEYOND_KNEE = 1.8


@dataclass(frozen=True)
class Hardware:
    """A batch of n rows takes fixed + per_row * n seconds in the middle; `padded` rounds n up to a power of two."""

    name: str
    fixed_seconds: float
    per_row_seconds: float
    max_batch_size: int
    target_seconds: float
    padded: bool = False
    knee_rows: int | None = None
    """Larger batches take 1.8 times as long, as where they leave a cache."""
    sigma: float = 0.06
    spike_share: float = 0.004
    spike_factor: float = 1.8
    quantile: float = 0.99

    def seconds(self, rows: int) -> float:
        executed = 1 << (rows - 1).bit_length() if self.padded else rows
        factor = _BEYOND_KNEE if self.knee_rows is not None and rows > self.knee_rows else 1.0
        return factor * (self.fixed_seconds + self.per_row_seconds * executed)

    @property
    def table(self) -> list[float]:
        """Index n holds the seconds of n rows; index 0 is 0."""
        return [0.0, *(self.seconds(n) for n in range(1, self.max_batch_size + 1))]

    @property
    def rows_per_second(self) -> float:
        """With full batches back to back: load 1."""
        return max(n / self.seconds(n) for n in range(1, self.max_batch_size + 1))

    def noise(self, rng: np.random.Generator) -> Iterator[float]:
        while True:
            yield from self.noise_block(rng, _NOISE_BLOCK).tolist()

    def noise_block(self, rng: np.random.Generator, count: int) -> np.ndarray:
        factors = rng.lognormal(-(self.sigma**2) / 2, self.sigma, count)
        factors[rng.random(count) < self.spike_share] *= self.spike_factor
        return factors


HARDWARE = {
    "gpu": Hardware("8 ms + 0.8 ms per row, batches to 64", 0.008, 0.0008, 64, 0.1),
    "embed": Hardware("20 ms + 0.25 ms per row, batches to 128", 0.020, 0.00025, 128, 0.1),
    "cpu": Hardware("2 ms + 6 ms per row, batches to 32", 0.002, 0.006, 32, 0.1),
    "padded": Hardware("8 ms + 0.8 ms per row, padded to powers of two", 0.008, 0.0008, 64, 0.1, padded=True),
}
