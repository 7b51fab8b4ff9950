"""How fast the runtime is beside other servers on the same machine: `make bench`, or `python -m benchmarks`."""
