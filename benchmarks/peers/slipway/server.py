"""The runtime as its image runs it: writes a configuration, then becomes it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

scratch = Path(os.environ["BENCHMARK_SCRATCH"])
workers = int(os.environ["BENCHMARK_WORKERS"])
configuration: dict = {
    "name": os.environ["BENCHMARK_MODEL"],
    "artifact": {"uri": f"file://{os.environ['BENCHMARK_ARCHIVE']}"},
    "drainDelaySeconds": 0,
}
if workers:
    configuration["engine"] = {"kind": "Worker", "workers": workers, "threads": 1}
if os.environ.get("BENCHMARK_TUNING") == "off":
    configuration["tuning"] = {"enabled": False}
path = scratch / "config.json"
path.write_text(json.dumps(configuration))
environment = {
    **os.environ,
    "SLIPWAY_CACHE_DIR": str(scratch / "cache"),
    "SLIPWAY_TERMINATION_MESSAGE_PATH": str(scratch / "termination-log"),
}
flags = ["--host", "127.0.0.1", "--port", os.environ["BENCHMARK_PORT"], "--admin-port", "0"]
os.execve(sys.executable, [sys.executable, "-m", "slipway_runtime", "--config", str(path), *flags], environment)
