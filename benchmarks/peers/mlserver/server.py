"""MLServer over the shared model: writes its settings, then becomes it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from served import BATCH_WINDOW_SECONDS, MAX_BATCH, MODEL, PORT, SCRATCH, free_port

settings = {
    "debug": False,
    "host": "127.0.0.1",
    "http_port": PORT,
    "grpc_port": free_port(),
    "metrics_port": free_port(),
    "parallel_workers": 0,  # in the server's process, which is its quickest way
    "access_log": False,
}
model = {
    "name": MODEL,
    "implementation": "runtime.Scores",
    "max_batch_size": MAX_BATCH,
    "max_batch_time": BATCH_WINDOW_SECONDS,
}
(SCRATCH / "settings.json").write_text(json.dumps(settings))
(SCRATCH / "model-settings.json").write_text(json.dumps(model))
shutil.copy(Path(__file__).with_name("runtime.py"), SCRATCH)
program = str(Path(sys.executable).with_name("mlserver"))
os.execv(program, [program, "start", str(SCRATCH)])
