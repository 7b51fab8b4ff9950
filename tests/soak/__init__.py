"""Mixed load with fault injection: a real runtime, honest and hostile clients, workers that are killed and stopped."""
