"""A small model is loaded and measured in a process that ends, and served by one that never held its libraries."""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx
import pytest

from slipway_runtime.contract import Stage
from slipway_runtime.models.tuning.choice import Variant
from tests.runtime.conftest import StartRuntime
from tests.runtime.server import RuntimeServer
from tests.runtime.workers import children

pytestmark = pytest.mark.runtime

_KILL_TRIALS = """
import os, sys
if "slipway_runtime.engines.trial" in sys.orig_argv:
    os.kill(os.getpid(), 9)
"""


def write_config(folder: Path, archive: Path, **config: object) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps({"name": "linear", "artifact": {"uri": f"file://{archive}"}, **config}))
    return str(path)


def double_and_add(server: RuntimeServer) -> list[float]:
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
    answer = httpx.post(f"{server.uri}/v2/models/linear/infer", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    values: list[float] = answer.json()["outputs"][0]["data"]
    return values


def metadata(server: RuntimeServer) -> dict[str, str]:
    properties: dict[str, str] = httpx.get(f"{server.uri}/v2/models/linear").json()["properties"]
    return properties


def holds_torch(server: RuntimeServer) -> bool:
    return "libtorch" in Path(f"/proc/{server.process.pid}/maps").read_text()


def test_what_serves_a_small_model_holds_no_torch(archives: Path, tmp_path: Path, start_runtime: StartRuntime) -> None:
    server = start_runtime("--config", write_config(tmp_path, archives / "linear.pt")).wait_until_ready()
    told = metadata(server)
    assert (told["engine"], told["variant"]) == ("InProcess", Variant.ONNX_RUNTIME)
    assert not children(server.process.pid)
    assert not holds_torch(server)
    as_saved = tmp_path / "as-saved"
    as_saved.mkdir()
    other = start_runtime("--config", write_config(as_saved, archives / "linear.pt", tuning={"enabled": False}))
    other.wait_until_ready()
    assert holds_torch(other)
    assert double_and_add(server) == pytest.approx(double_and_add(other), abs=1e-5)


def test_stages_are_told_while_the_model_is_tried(archives: Path, tmp_path: Path, start_runtime: StartRuntime) -> None:
    server = start_runtime("--config", write_config(tmp_path, archives / "linear.pt")).wait_until_ready()
    stages = [line["message"].partition(" took ")[0] for line in server.log if " took " in line["message"]]
    assert [stage for stage in stages if stage in (Stage.LOAD, Stage.WARM_UP)] == [Stage.LOAD, Stage.WARM_UP]


def test_a_model_that_kills_its_first_load_gets_a_worker(
    archives: Path, tmp_path: Path, start_runtime: StartRuntime
) -> None:
    (tmp_path / "sitecustomize.py").write_text(_KILL_TRIALS)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    config = write_config(tmp_path, archives / "linear.pt")
    server = start_runtime("--config", config, environment={"PYTHONPATH": path}).wait_until_ready()
    told = metadata(server)
    assert (told["engine"], told["engine_reason"]) == ("Worker", "a first load ended its process.")
    assert len(double_and_add(server)) > 0
