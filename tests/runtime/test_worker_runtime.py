"""The whole runtime with its model in workers: what clients, probes and the operating system see when one ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from slipway_runtime.contract import FailureReason, Stage
from tests.runtime.conftest import StartRuntime
from tests.runtime.server import RuntimeServer
from tests.runtime.workers import WAIT_SECONDS, children, exists

pytestmark = pytest.mark.runtime

QUICK = 1
SECONDS_LONG = 3000
"""Rounds of `Slow` that take about a second or more, on any machine long enough to be caught in the act."""


def write_config(folder: Path, archive: Path, **config: Any) -> Path:
    path = folder / "config.json"
    path.write_text(
        json.dumps(
            {
                "name": "slow",
                "artifact": {"uri": f"file://{archive}"},
                "engine": {"kind": "Worker", "workers": 2, "threads": 1},
                "tuning": {"enabled": False},
                **config,
            }
        )
    )
    return path


@pytest.fixture(scope="module")
def slow(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    """Serves `Slow` in two workers."""
    folder = tmp_path_factory.mktemp("workers")
    server = RuntimeServer(folder / "run", "--config", str(write_config(folder, archives / "slow.pt")))
    try:
        yield server.wait_until_ready()
    finally:
        server.kill()


def predict(server: RuntimeServer, rounds: int) -> httpx.Response:
    body = {"inputs": [{"name": "rounds", "datatype": "INT64", "shape": [1, 1], "data": [rounds]}]}
    return httpx.post(f"{server.uri}/v2/models/slow/infer", json=body, timeout=WAIT_SECONDS)


def metric(server: RuntimeServer, name: str, **labels: str) -> float:
    """The sum over all series with these labels."""
    total = 0.0
    for line in server.metrics().splitlines():
        matched = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
        if matched and all(f'{key}="{value}"' in (matched[1] or "") for key, value in labels.items()):
            total += float(matched[2])
    return total


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come true"
        time.sleep(0.05)


def busy_worker(server: RuntimeServer) -> int:
    """The process that uses most of the CPU now."""

    def ticks(pid: int) -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    wait_until(lambda: metric(server, "slipway_runtime_worker_state", state="busy") == 1, "a worker is busy")
    before = {pid: ticks(pid) for pid in children(server.process.pid)}
    wait_until(lambda: any(ticks(pid) > before[pid] + 2 for pid in before), "a worker computes")
    return max(before, key=lambda pid: ticks(pid) - before[pid])


def test_the_gateway_holds_no_torch_and_its_workers_do(slow: RuntimeServer) -> None:
    assert predict(slow, QUICK).json()["outputs"][0]["data"] == [QUICK]
    workers = children(slow.process.pid)
    assert len(workers) == 2
    assert "libtorch" not in Path(f"/proc/{slow.process.pid}/maps").read_text()
    for pid in workers:
        assert "libtorch" in Path(f"/proc/{pid}/maps").read_text()


def test_the_choice_is_told_in_log_metrics_and_metadata(slow: RuntimeServer) -> None:
    told = [line["message"] for line in slow.log if "worker processes" in line["message"]]
    assert told == ["The model runs in 2 worker processes with 1 thread each: engine.kind is Worker."]
    labels = {"engine": "Worker", "workers": "2", "threads": "1", "device": "cpu"}
    assert metric(slow, "slipway_runtime_engine_info", **labels) == 1
    predict(slow, QUICK)
    assert metric(slow, "slipway_runtime_worker_batches_total") >= 1
    assert metric(slow, "slipway_runtime_worker_busy_seconds_total") > 0
    assert metric(slow, "slipway_runtime_worker_resident_memory_bytes", worker="1") > 10**7
    assert metric(slow, "slipway_runtime_shared_memory_bytes") > 0


def test_the_log_tells_which_worker_computed(slow: RuntimeServer) -> None:
    for _ in range(2):
        assert predict(slow, QUICK).status_code == 200

    def served_by() -> list[object]:
        return [line.get("worker") for line in slow.log if line.get("path") == "/v2/models/slow/infer"]

    wait_until(lambda: len(served_by()) >= 2, "a line for each request")
    assert set(served_by()) <= {"0", "1"}


@pytest.mark.feature("worker-restart", "worker-requests", "one-queue")
def test_a_killed_worker_costs_no_answer_while_another_is_there(slow: RuntimeServer) -> None:
    with ThreadPoolExecutor() as pool:
        long: Future[httpx.Response] = pool.submit(predict, slow, SECONDS_LONG)
        victim = busy_worker(slow)
        os.kill(victim, signal.SIGKILL)
        for _ in range(5):
            assert predict(slow, QUICK).status_code == 200
        answer = long.result()
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == [SECONDS_LONG]
    assert metric(slow, "slipway_runtime_worker_restarts_total", cause="crash") == 1
    assert metric(slow, "slipway_runtime_batch_retries_total", cause="crash") >= 1
    wait_until(lambda: metric(slow, "slipway_runtime_worker_state", state="idle") == 2, "the worker is back")
    assert not exists(victim)
    assert httpx.get(f"{slow.admin_uri}/livez", timeout=5).status_code == 200


@pytest.mark.feature("liveness-apart")
def test_each_probe_is_answered_while_the_model_computes(slow: RuntimeServer) -> None:
    with ThreadPoolExecutor() as pool:
        long: Future[httpx.Response] = pool.submit(predict, slow, SECONDS_LONG)
        busy_worker(slow)
        answers = [httpx.get(f"{slow.admin_uri}/{probe}", timeout=5) for probe in ("livez", "readyz", "startupz")]
        assert not long.done()
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert long.result().status_code == 200


def test_a_request_that_no_worker_survives_is_refused_and_the_rest_goes_on(slow: RuntimeServer) -> None:
    restarts = metric(slow, "slipway_runtime_worker_restarts_total")
    with ThreadPoolExecutor() as pool:
        poison: Future[httpx.Response] = pool.submit(predict, slow, 100 * SECONDS_LONG)
        os.kill(busy_worker(slow), signal.SIGKILL)
        wait_until(lambda: metric(slow, "slipway_runtime_worker_restarts_total") == restarts + 1, "the first end")
        os.kill(busy_worker(slow), signal.SIGKILL)
        answer = poison.result()
    assert answer.status_code == 500
    assert answer.json()["code"] == "worker_crashed"
    assert "SIGKILL" in answer.json()["error"]
    assert "Traceback" not in answer.text
    assert predict(slow, QUICK).status_code == 200
    wait_until(lambda: metric(slow, "slipway_runtime_worker_state", state="idle") == 2, "both are back")


def test_a_model_that_cannot_come_back_fails_liveness_and_says_why(
    archives: Path, tmp_path: Path, start_runtime: StartRuntime
) -> None:
    artifact = tmp_path / "slow.pt"
    artifact.write_bytes((archives / "slow.pt").read_bytes())
    config = write_config(tmp_path, artifact, engine={"kind": "Worker", "workers": 1, "threads": 1})
    server = start_runtime("--config", str(config)).wait_until_ready()
    artifact.write_bytes(b"not a model any more")
    for copy in (tmp_path / "runtime-0" / "cache").rglob("*"):
        if copy.is_file() and copy.stat().st_size > 1000:
            copy.chmod(0o600)
            copy.write_bytes(b"not a model any more")
    os.kill(children(server.process.pid)[0], signal.SIGKILL)
    server.wait_until("/livez", 503)
    assert "cannot load the model" in httpx.get(f"{server.admin_uri}/livez", timeout=5).text
    assert httpx.get(f"{server.admin_uri}/readyz", timeout=5).status_code == 503
    answer = predict(server, QUICK)
    assert answer.status_code == 503
    message = server.termination_message()
    assert message is not None
    assert (message.stage, message.reason) == (Stage.SERVE, FailureReason.WORKER_CRASHED)
    assert metric(server, "slipway_runtime_worker_restarts_total", cause="start") >= 4
    server.terminate()
    assert server.wait() == 0


def test_an_artifact_that_no_worker_can_load_ends_the_runtime_with_its_reason(
    tmp_path: Path, start_runtime: StartRuntime
) -> None:
    artifact = tmp_path / "broken.pt"
    artifact.write_bytes(b"PK\x03\x04 no archive")
    server = start_runtime("--config", str(write_config(tmp_path, artifact)))
    assert server.wait() == 1
    message = server.termination_message()
    assert message is not None
    assert message.stage == Stage.LOAD
    assert message.reason in (FailureReason.UNSUPPORTED_FORMAT, FailureReason.MODEL_LOAD_FAILED)
    assert "Traceback" not in message.message


def test_as_process_1_it_reaps_what_it_inherits_and_ends_when_it_is_told(archives: Path, tmp_path: Path) -> None:
    config = write_config(
        tmp_path, archives / "slow.pt", engine={"kind": "Worker", "workers": 1, "threads": 1}, drainDelaySeconds=0
    )
    wrapper = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    server = RuntimeServer(tmp_path / "run", "--config", str(config), wrapper=wrapper)
    try:
        server.wait_until_ready()
        (runtime,) = children(server.process.pid)
        assert predict(server, QUICK).status_code == 200
        before = children(runtime)
        # A shell leaves a child behind, as a script that a person runs in the container may.
        subprocess.run(["nsenter", f"--target={runtime}", "--pid", "sh", "-c", "sleep 0.3 & exit"], check=True)
        wait_until(lambda: len(children(runtime)) > len(before), "the orphan is inherited")
        wait_until(lambda: children(runtime) == before, "the orphan is waited for")
        os.kill(before[0], signal.SIGKILL)
        wait_until(
            lambda: before[0] not in children(runtime) and len(children(runtime)) == 1, "there is one worker, another"
        )
        os.kill(runtime, signal.SIGTERM)
        assert server.wait() == 0
        assert not exists(runtime)
    finally:
        server.kill()
