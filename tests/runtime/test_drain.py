"""From the request to stop to the end: nothing that was accepted is lost."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.runtime.conftest import StartRuntime
from tests.runtime.server import RuntimeServer

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(300)]


ENDLESS = 1_000_000
"""Rounds of about a millisecond each: no test waits for their end."""
PATIENCE_SECONDS = 3


def start_slow(start_runtime: StartRuntime, archives: Path, tmp_path: Path, **options: int) -> RuntimeServer:
    config = tmp_path / "config.json"
    fields = "".join(f', "{name}": {value}' for name, value in options.items())
    fields += ', "engine": {"workers": 1}'
    config.write_text(f'{{"name": "slow", "artifact": {{"uri": "file://{archives}/slow.pt"}}{fields}}}')
    return start_runtime("--config", str(config)).wait_until_ready()


def rounds_for(server: RuntimeServer, seconds: float) -> int:
    """How much to ask for so that one prediction takes about so long on this machine."""
    asked = 50
    begun = time.monotonic()
    httpx.post(f"{server.uri}/predict", json=[[asked]], timeout=60).raise_for_status()
    return max(1, int(asked * seconds / (time.monotonic() - begun)))


@pytest.mark.feature("drain-inflight")
def test_loses_no_request_when_stopped_under_load(start_runtime: StartRuntime, archives: Path, tmp_path: Path) -> None:
    server = start_slow(start_runtime, archives, tmp_path, drainDelaySeconds=2)
    uri = server.uri
    stopping = threading.Event()

    def ask_until_told_to_leave() -> tuple[int, bool]:
        """Like a proxy: keeps a connection, and leaves the server once that says so."""
        answered = 0
        with httpx.Client(timeout=30) as client:
            while True:
                response = client.post(f"{uri}/predict", json=[[2], [1]])
                assert response.status_code == 200
                assert response.json()["outputs"]["answer"] == [[2], [1]]
                answered += 1
                if response.headers.get("connection") == "close":
                    return answered, stopping.is_set()

    with ThreadPoolExecutor(8) as clients:
        asking = [clients.submit(ask_until_told_to_leave) for _ in range(8)]
        time.sleep(0.5)
        stopping.set()
        server.terminate()
        results = [future.result(timeout=60) for future in asking]
    assert all(answered > 0 and told_in_time for answered, told_in_time in results)
    assert server.wait(20) == 0


@pytest.mark.feature("drain-readiness")
def test_goes_on_accepting_and_says_so_while_endpoints_forget_it(
    start_runtime: StartRuntime, archives: Path, tmp_path: Path
) -> None:
    server = start_slow(start_runtime, archives, tmp_path, drainDelaySeconds=3)
    server.terminate()
    server.wait_until("/readyz", 503)
    assert httpx.get(f"{server.admin_uri}/livez").status_code == 200
    assert httpx.get(f"{server.admin_uri}/startupz").status_code == 200
    assert "slipway_runtime_draining 1.0" in server.metrics()
    assert httpx.get(f"{server.uri}/v2/health/ready").status_code == 503
    assert httpx.get(f"{server.uri}/v2/health/live").status_code == 200
    response = httpx.post(f"{server.uri}/predict", json=[[1]])
    assert (response.status_code, response.headers["connection"]) == (200, "close")
    assert server.wait(20) == 0


def ask_until_refused(uri: str, seconds: float) -> float:
    """Opens a connection for each request; returns for how long all were answered, at most `seconds`."""
    begun = time.monotonic()
    while (elapsed := time.monotonic() - begun) < seconds:
        try:
            assert httpx.post(f"{uri}/predict", json=[[1]], timeout=10).status_code == 200
        except httpx.ConnectError:
            return elapsed
        time.sleep(0.2)
    return seconds


def test_accepts_for_longer_while_connections_still_come_in(
    start_runtime: StartRuntime, archives: Path, tmp_path: Path
) -> None:
    server = start_slow(start_runtime, archives, tmp_path, drainDelaySeconds=1)
    server.terminate()
    assert ask_until_refused(server.uri, 5) == 5
    assert server.wait(10) == 0, "it ends once nobody comes any more"


def test_ends_at_the_limit_when_connections_never_cease(
    start_runtime: StartRuntime, archives: Path, tmp_path: Path
) -> None:
    server = start_slow(start_runtime, archives, tmp_path, drainDelaySeconds=1, drainLimitSeconds=4)
    server.terminate()
    assert 2 <= ask_until_refused(server.uri, 20) <= 6
    assert server.wait(10) == 0


def test_finishes_what_is_in_flight_and_accepts_nothing_new_when_hurried(
    start_runtime: StartRuntime, archives: Path, tmp_path: Path
) -> None:
    server = start_slow(start_runtime, archives, tmp_path, drainDelaySeconds=60)
    uri, rounds = server.uri, rounds_for(server, 4)
    with ThreadPoolExecutor(1) as client:
        asked = client.submit(lambda: httpx.post(f"{uri}/predict", json=[[rounds]], timeout=60))
        time.sleep(1)
        server.terminate()
        server.wait_until("/readyz", 503)
        server.terminate()
        time.sleep(0.5)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{uri}/v2")
        assert asked.result().status_code == 200
    assert server.wait(20) == 0


def test_cuts_what_is_in_flight_when_hurried_twice(start_runtime: StartRuntime, archives: Path, tmp_path: Path) -> None:
    server = start_slow(start_runtime, archives, tmp_path, drainDelaySeconds=60)
    uri, rounds = server.uri, ENDLESS
    with ThreadPoolExecutor(1) as client:
        asked = client.submit(lambda: httpx.post(f"{uri}/predict", json=[[rounds]], timeout=60))
        time.sleep(1)
        for _ in range(3):
            server.terminate()
            time.sleep(0.3)
        assert server.wait(5) == 0
        assert (asked.result().status_code, asked.result().json()["code"]) == (503, "draining")


def test_answers_500_with_the_models_own_words_when_it_fails(start_runtime: StartRuntime, tmp_path: Path) -> None:
    from tests.runtime.archives import save_demanding

    save_demanding(tmp_path / "demanding.pt")
    server = start_runtime("--uri", f"file://{tmp_path}/demanding.pt").wait_until_ready()
    response = httpx.post(f"{server.uri}/predict", json=[[-1, 4]])
    assert (response.status_code, response.json()["code"]) == (500, "model_error")
    assert response.json()["error"] == "The model failed on this request: negative input"
    assert httpx.post(f"{server.uri}/predict", json=[[1, 4]]).json()["outputs"] == {"root": [[1.0, 2.0]]}


@pytest.mark.feature("running-deadline")
def test_answers_504_in_time_while_the_model_computes(
    start_runtime: StartRuntime, archives: Path, tmp_path: Path
) -> None:
    server = start_slow(start_runtime, archives, tmp_path, requestTimeoutSeconds=1)
    uri = server.uri
    with ThreadPoolExecutor(2) as clients:
        asked = clients.submit(lambda: httpx.post(f"{uri}/predict", json=[[ENDLESS]], timeout=60))
        time.sleep(0.5)
        behind = clients.submit(lambda: httpx.post(f"{uri}/predict", json=[[1]], timeout=60))
        with httpx.Client(base_url=server.admin_uri, timeout=30) as probes:
            begun = time.monotonic()
            assert probes.get("/livez").status_code == 200
            assert time.monotonic() - begun < PATIENCE_SECONDS, "probes do not wait for predictions"
        assert (asked.result().status_code, asked.result().json()["code"]) == (504, "deadline_running")
        # The model is held to be hanging by then, and may be back or not.
        assert (behind.result().status_code, behind.result().json()["code"]) in (
            (504, "deadline_in_queue"),
            (503, "worker_restarted"),
        )
        assert asked.result().json()["retryable"] is True
