"""Whoever collects the log may stall for as long as it likes: the runtime answers, and ends when it is told."""

from __future__ import annotations

import textwrap
from pathlib import Path

import httpx
import pytest

from tests.runtime.conftest import StartRuntime
from tests.runtime.handlers import SIGNATURE

pytestmark = pytest.mark.runtime

HANDLER = """
    def setup(ctx):
        print("x" * 60_000, flush=True)

    def predict(batch):
        if (batch["x"] == 7).any():
            raise RuntimeError("failed")
        return batch["x"][:, 0]
"""
STALLED = """exec "$@" > >(head -n 1; while kill -0 $$; do sleep 0.2; done)"""
"""The first line is read, and nothing after it."""


def test_a_log_that_nobody_reads_stops_neither_answers_nor_the_end(start_runtime: StartRuntime, tmp_path: Path) -> None:
    path = tmp_path / "handler.py"
    path.write_text(textwrap.dedent(HANDLER) + SIGNATURE)
    flags = ("--uri", f"file://{path}", "--name", "quiet", "--format", "Python")
    server = start_runtime(*flags, wrapper=("bash", "-c", STALLED, "stalled"))
    server.wait_until_ready()
    with httpx.Client(base_url=server.uri, timeout=30) as client:
        for value in range(100):
            answer = client.post("/predict", json={"inputs": {"x": [[value % 10, 0]]}})
            if value % 10 == 7:
                assert answer.status_code == 500
            else:
                assert answer.json()["outputs"] == {"y": [value % 10]}
    server.interrupt()
    assert server.wait() == 0
