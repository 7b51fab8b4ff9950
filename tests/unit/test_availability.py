"""The judge of the steady load sees every way in which a request can fail, and tells on what occasion."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.availability.askers import Kind, Route
from tests.availability.client import Tally, ask_steadily, write
from tests.availability.load import Load

pytestmark = pytest.mark.unit

SAMPLE = {"image": [[[0.0] * 8] * 8], "label": 3}


class Server(ThreadingHTTPServer):
    """Answers as it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.label = 3
        self.shape = [1]
        self.renames = False
        self.hangs_up = False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.hangs_up:
            self.close_connection = True
            return
        outputs = [{"name": "label", "shape": self.server.shape, "data": [self.server.label]}]
        answer = {"id": "other" if self.server.renames else asked["id"], "outputs": outputs}
        content = json.dumps(answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ask(server: Server, kind: Kind = Kind.KEEP_ALIVE, requests: int = 3) -> Tally:
    route = Route("the way", kind, f"http://127.0.0.1:{server.server_port}", "digits")
    tally, stopping = Tally(route.name), threading.Event()
    thread = threading.Thread(target=ask_steadily, args=(route, tally, [SAMPLE], 0.01, 0.0, stopping))
    thread.start()
    deadline = time.monotonic() + 30
    while tally.requests < requests:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stopping.set()
    thread.join()
    return tally


@pytest.mark.parametrize("kind", [Kind.KEEP_ALIVE, Kind.FRESH])
def test_right_answers_are_no_failures(server: Server, kind: Kind) -> None:
    tally = ask(server, kind)
    assert (tally.failed, len(tally.seconds)) == (0, tally.requests)


@pytest.mark.parametrize(
    ("attribute", "value", "cause"),
    [
        ("status", 503, "HTTP 503"),
        ("label", 4, "label 4, expected 3"),
        ("shape", [2], "shape [2]"),
        ("renames", True, "answered with other"),
        ("hangs_up", True, "RemoteProtocolError"),
    ],
)
def test_what_is_wrong_is_counted_and_told(server: Server, attribute: str, value: Any, cause: str) -> None:
    setattr(server, attribute, value)
    tally = ask(server)
    assert tally.failed == tally.requests
    assert all(cause in failure["cause"] for failure in tally.failures)


def test_server_that_is_gone_is_told(server: Server) -> None:
    server.server_close()
    cause = ask(server).failures[0]["cause"]
    # Which of the two depends on whether the kernel still took the connection.
    assert "ConnectError" in cause or "ReadError" in cause


def test_report_adds_up_the_clients_and_a_failure_is_told_with_its_occasion(server: Server, tmp_path: Path) -> None:
    good = ask(server)
    server.label = 4
    bad = ask(server)
    path = tmp_path / "report.json"
    write(path, [good, bad], time.monotonic(), done=True)
    report = json.loads(path.read_text())
    assert (report["requests"], report["failed"]) == (good.requests + bad.requests, bad.failed)
    assert report["routes"]["the way"]["requests"] == report["requests"]
    load = Load(process=None, report_path=path, log=path, occasions=[("drain", time.time() - 60, time.time())])  # type: ignore[arg-type]
    told = load.explain(report["failures"])
    assert "the way" in told
    assert "drain: wrong answer: label 4, expected 3" in told
