"""Forms batches that keep a latency target. Pure: no threads, no clock of its own, no torch."""
