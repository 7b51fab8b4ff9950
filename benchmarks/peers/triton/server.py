"""Triton's own server, as the wheel of nvidia-pytriton holds it, with its Python backend.

Lays out a model repository and the backend's stub for this Python, then becomes the server.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import served
from pytriton.utils.distribution import get_libs_path, get_root_module_path, get_stub_path
from served import DATATYPE, MAX_BATCH, MODEL, OUTPUTS, PORT, ROW_SHAPE, SCRATCH

CONFIGURATION = f"""
name: "{MODEL}"
backend: "python"
max_batch_size: {MAX_BATCH}
input [{{ name: "x", data_type: {"TYPE_INT64" if DATATYPE is np.int64 else "TYPE_FP32"}, dims: {list(ROW_SHAPE)} }}]
output [{{ name: "scores", data_type: TYPE_FP32, dims: [{OUTPUTS}] }}]
instance_group [{{ count: 1, kind: KIND_CPU }}]
"""
if os.environ.get("BENCHMARK_DYNAMIC_BATCHING"):
    CONFIGURATION += "dynamic_batching { }\n"

repository, backends = SCRATCH / "repository", SCRATCH / "backends"
version = repository / MODEL / "1"
version.mkdir(parents=True)
(version.parent / "config.pbtxt").write_text(CONFIGURATION)
shutil.copy(Path(__file__).with_name("model.py"), version)
shutil.copy(served.__file__, version)  # the backend's stub sees no PYTHONPATH
triton = get_root_module_path() / "tritonserver"
shutil.copytree(triton / "backends", backends)
shutil.copy(get_stub_path(f"{sys.version_info.major}.{sys.version_info.minor}"), backends / "python")
environment = {
    **os.environ,
    "LD_LIBRARY_PATH": ":".join(filter(None, [os.environ.get("LD_LIBRARY_PATH"), str(get_libs_path())])),
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
}
flags = {
    "model-repository": repository,
    "backend-directory": backends,
    "http-address": "127.0.0.1",
    "http-port": PORT,
    "allow-grpc": "false",
    "allow-metrics": "false",
    "log-info": "false",
}
os.execve(
    triton / "bin" / "tritonserver",
    ["tritonserver", *(f"--{key}={value}" for key, value in flags.items())],
    environment,
)
