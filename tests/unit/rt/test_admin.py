"""The admin port's pages for who debugs, and what they keep to themselves."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from slipway_runtime.contract import (
    METRICS_PATH,
    ArtifactConfig,
    AuthConfig,
    EngineKind,
    LimitsConfig,
    RuntimeConfig,
    SLAConfig,
)
from slipway_runtime.engines.choice import EngineChoice
from slipway_runtime.http.budget import ByteBudget
from slipway_runtime.lifecycle import Lifecycle
from slipway_runtime.metrics import Metrics
from slipway_runtime.serving.admin import AdminApp
from slipway_runtime.serving.inspection import CONFIG_PATH, THREADS_PATH, Inspection
from tests.unit.rt.convoys import House, run

pytestmark = pytest.mark.unit

SECRETS = ("topsecret-user", "topsecret-password", "topsecret-signature", "topsecret-key", "topsecret-token")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RuntimeConfig:
    """Whatever may hold a secret holds one."""
    for name in ("AWS_SECRET_ACCESS_KEY", "HTTP_BEARER_TOKEN", "OTEL_EXPORTER_OTLP_HEADERS"):
        monkeypatch.setenv(name, "topsecret-token")
    (tmp_path / "keys").write_text("topsecret-key\n")
    uri = "https://topsecret-user:topsecret-password@store.example/m.pt?X-Amz-Signature=topsecret-signature"
    return RuntimeConfig(
        name="m",
        artifact=ArtifactConfig(uri=uri),
        auth=AuthConfig(api_keys_path=str(tmp_path / "keys")),
        sla=SLAConfig(p95_milliseconds=50),
        limits=LimitsConfig(max_connections=7),
    )


def ask(
    app: AdminApp, path: str, *headers: tuple[bytes, bytes], method: str = "GET"
) -> tuple[int, dict[str, str], str]:
    sent: list[Any] = []

    async def go() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            raise AssertionError

        await app({"type": "http", "method": method, "path": path, "headers": list(headers)}, receive, send)

    asyncio.run(go())
    start, body = sent
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, body["body"].decode()


def test_the_effective_configuration_is_shown_whole_and_without_secrets(config: RuntimeConfig) -> None:
    metrics = Metrics(Lifecycle(), config.sla)
    metrics.http_counts.budget = ByteBudget(12345)
    metrics.engine_counts.watch(EngineChoice(EngineKind.WORKER, 2, threads=3, reason="it is so"), "cpu")
    status, headers, body = ask(AdminApp(Lifecycle(), metrics, Inspection(config, metrics)), CONFIG_PATH)
    assert (status, headers["content-type"]) == (200, "application/json")
    told = json.loads(body)
    assert not any(secret in body for secret in SECRETS)
    assert told["artifact"]["uri"] == "https://store.example/m.pt?…"
    assert told["auth"] == {"apiKeysPath": config.auth.api_keys_path if config.auth else None}
    assert told["sla"]["p95Milliseconds"] == 50
    assert told["requestTimeoutSeconds"] == 30, "defaults are there as well"
    assert told["engine"] == {"kind": "Worker", "workers": 2, "threads": 3}
    limits = told["limits"]
    assert (limits["maxConnections"], limits["maxInflightBytes"]) == (7, 12345)
    assert limits["maxDecompressedBytes"] == config.max_request_bytes
    assert RuntimeConfig.model_validate(told).name == "m", "it can be used again"


def test_stacks_of_threads_and_tasks_are_shown_without_what_they_hold(config: RuntimeConfig) -> None:
    looping: Future[asyncio.AbstractEventLoop] = Future()
    done = asyncio.Event()

    async def waits_for_the_test(key: str) -> None:
        looping.set_result(asyncio.get_running_loop())
        await done.wait()

    thread = threading.Thread(target=lambda: asyncio.run(waits_for_the_test(SECRETS[3])), name="somebody")
    thread.start()
    try:
        metrics = Metrics(Lifecycle())
        app = AdminApp(Lifecycle(), metrics, Inspection(config, metrics, looping.result(10)))
        status, headers, body = ask(app, THREADS_PATH)
    finally:
        looping.result(10).call_soon_threadsafe(done.set)
        thread.join()
    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert "Thread somebody\n" in body
    assert "Thread MainThread\n" in body
    task = next(part for part in body.split("\n\n") if part.startswith("Task ") and "waits_for_the_test" in part)
    assert "await done.wait()" in task
    assert not any(secret in body for secret in SECRETS)


def test_a_loop_that_is_held_up_shows_by_its_thread(config: RuntimeConfig) -> None:
    looping: Future[asyncio.AbstractEventLoop] = Future()
    done = threading.Event()

    async def holds_the_loop_up() -> None:
        looping.set_result(asyncio.get_running_loop())
        done.wait(30)

    thread = threading.Thread(target=lambda: asyncio.run(holds_the_loop_up()), name="stuck")
    thread.start()
    try:
        metrics = Metrics(Lifecycle())
        body = Inspection(config, metrics, looping.result(10)).threads()
    finally:
        done.set()
        thread.join()
    stuck = next(part for part in body.split("\n\n") if part.startswith("Thread stuck"))
    assert "done.wait(30)" in stuck
    assert "Tasks: the event loop did not answer" in body
    assert "\nTask" not in Inspection(config, metrics, looping.result()).threads(), "the loop has ended"


def test_the_metrics_are_openmetrics_for_who_prefers_it(config: RuntimeConfig) -> None:
    metrics = Metrics(Lifecycle())
    app = AdminApp(Lifecycle(), metrics, Inspection(config, metrics))
    status, headers, body = ask(app, METRICS_PATH, (b"accept", b"application/openmetrics-text"))
    assert (status, headers["vary"], body[-6:]) == (200, "Accept", "# EOF\n")
    assert headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    status, headers, body = ask(app, METRICS_PATH)
    assert (status, headers["content-type"]) == (200, "text/plain; version=1.0.0; charset=utf-8")
    assert "# EOF" not in body
    assert ask(app, METRICS_PATH, method="POST")[0] == 405


def test_tritons_names_are_there_for_who_asked_for_them() -> None:
    async def names(house: House) -> bool:
        return b"nv_inference_" in house.metrics.render()[0]

    assert not run(names)
    assert run(names, triton=True)
