"""Clients that others wrote for other servers, unchanged: KServe's, and a script as Triton's documentation has them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.clients.environment import python_with
from tests.runtime.conftest import StartRuntime

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(600)]

CLIENTS = Path(__file__).parent / "clients"
ANSWER = [[0.5, 3.5, 8.0], [1.5, 4.5, 9.0]]


def run(*command: str | Path, seconds: float = 120) -> str:
    process = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=seconds)
    assert process.returncode == 0, f"{process.stdout}\n{process.stderr}"
    return process.stdout


@pytest.mark.feature("oip-rest")
@pytest.mark.parametrize(
    "flags", [[], ["--request-compression-algorithm", "gzip", "--response-compression-algorithm", "deflate"]]
)
def test_a_script_for_triton_runs_unchanged(archives: Path, start_runtime: StartRuntime, flags: list[str]) -> None:
    server = start_runtime("--uri", f"file://{archives}/simple.pt", "--name", "simple").wait_until_ready()
    output = run(sys.executable, CLIENTS / "simple_http_infer_client.py", "-v", "-u", server.address, *flags)
    assert "PASS: infer" in output
    assert "The inputs ['INPUT1'] are missing" in output
    assert "Request for unknown model" in output


@pytest.mark.feature("oip-grpc")
def test_triton_scripts_over_grpc_run_unchanged(archives: Path, start_runtime: StartRuntime) -> None:
    flags = ["--uri", f"file://{archives}/simple.pt", "--name", "simple", "--grpc-port", "0"]
    server = start_runtime(*flags).wait_until_ready()
    output = run(sys.executable, CLIENTS / "simple_grpc_infer_clients.py", "-u", server.grpc_address)
    assert output.count("PASS: infer") == 12
    assert output.count("PASS: stream infer") == 3
    assert "PASS: all" in output


@pytest.mark.feature("oip-rest")
def test_kserves_client_works_over_rest_and_grpc(archives: Path, start_runtime: StartRuntime) -> None:
    server = start_runtime("--uri", f"file://{archives}/linear.pt", "--name", "linear", "--grpc-port", "0")
    server.wait_until_ready()
    python = python_with(CLIENTS / "kserve.txt")
    found = json.loads(run(python, CLIENTS / "kserve_client.py", server.uri, server.grpc_address))
    v1, v2, grpc = found["v1"], found["v2"], found["grpc"]
    assert v1.pop("error").startswith("Input 'x' has the shape [1, 1], expected [-1, 4]")
    assert v1 == {"live": True, "model_ready": True, "predictions": {"predictions": ANSWER}}
    assert v2.pop("error").startswith("There is no input 'y'")
    probes = {"live": True, "ready": True, "model_ready": True}
    answer = ["7", "scores", ANSWER]
    assert v2 == {
        **probes,
        "other_ready": False,
        "json": answer,
        "binary_in": answer,
        "binary_out": answer,
        "binary": answer,
    }
    code, words = grpc.pop("error")
    assert (code, "There is no input 'y'" in words) == ("INVALID_ARGUMENT", True)
    assert grpc == {**probes, "contents": answer, "raw": answer}
