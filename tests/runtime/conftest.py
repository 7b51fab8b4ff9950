"""Archives once per run; runtimes started on demand and always stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.runtime.server import RuntimeServer

StartRuntime = Callable[..., RuntimeServer]


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with brightness.pt, linear.pt, mixed.pt, plain.pt, simple.pt and slow.pt."""
    from tests.runtime import archives as make

    folder = tmp_path_factory.mktemp("archives")
    make.save_linear(folder / "linear.pt")
    make.save_mixed(folder / "mixed.pt")
    make.save_brightness(folder / "brightness.pt")
    make.save_simple(folder / "simple.pt")
    make.save_slow(folder / "slow.pt")
    make.save_plain(make.Linear(), folder / "plain.pt")
    return folder


@pytest.fixture
def start_runtime(tmp_path: Path) -> Iterator[StartRuntime]:
    """Flags in, a started runtime out; the keywords are those of `RuntimeServer`."""
    started: list[RuntimeServer] = []

    def start(*flags: str, **keywords: Any) -> RuntimeServer:
        server = RuntimeServer(tmp_path / f"runtime-{len(started)}", *flags, **keywords)
        started.append(server)
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="session")
def linear(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    """Serves `Linear` under the name linear behind the prefix /models/linear, with small limits."""
    folder = tmp_path_factory.mktemp("linear")
    config = folder / "config.json"
    config.write_text(
        f'{{"name": "linear", "artifact": {{"uri": "file://{archives}/linear.pt"}}, "rootPath": "/models/linear",'
        ' "maxRequestBytes": 65536, "requestTimeoutSeconds": 10}'
    )
    server = RuntimeServer(folder / "run", "--config", str(config))
    try:
        yield server.wait_until_ready()
    finally:
        server.kill()


@pytest.fixture(scope="session")
def mixed(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    """Serves `Mixed` under the name mixed."""
    server = RuntimeServer(tmp_path_factory.mktemp("mixed"), "--uri", f"file://{archives}/mixed.pt", "--name", "mixed")
    try:
        yield server.wait_until_ready()
    finally:
        server.kill()


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    """Serves the handler clients/echo.py under the name echo."""
    flags = ["--uri", f"file://{Path(__file__).parent}/clients/echo.py", "--format", "Python", "--name", "echo"]
    server = RuntimeServer(tmp_path_factory.mktemp("echo"), *flags)
    try:
        yield server.wait_until_ready()
    finally:
        server.kill()


@pytest.fixture
def client(linear: RuntimeServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=linear.uri, timeout=30) as client:
        yield client


@pytest.fixture
def mixed_client(mixed: RuntimeServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=mixed.uri, timeout=30) as client:
        yield client
