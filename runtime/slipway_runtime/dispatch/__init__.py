"""Between requests and engines: the scheduler in real time, and the fate of a batch that fails."""
