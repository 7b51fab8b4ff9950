"""A store that cannot be reached is told in the same words each time, with the address that was asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from slipway_runtime.artifact.s3 import S3Source
from slipway_runtime.artifact.source import InterruptionError
from slipway_runtime.contract import FailureReason

pytestmark = pytest.mark.unit

KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}


def refusal(endpoint: str | None) -> str:
    environment = KEYS if endpoint is None else {**KEYS, "AWS_ENDPOINT_URL": endpoint}
    source = S3Source("s3://models/digits/model.pt", 5, environment)
    try:
        with pytest.raises(InterruptionError) as caught:
            source.open(0, None)
    finally:
        source.close()
    assert caught.value.reason is FailureReason.ARTIFACT_UNREACHABLE
    return str(caught.value)


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def no_http() -> Iterator[int]:
    """A port behind which something else speaks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"220 mail.example.com ready\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_address_and_cause_are_told_when_nothing_listens(closed_port: int) -> None:
    said = refusal(f"http://127.0.0.1:{closed_port}")
    assert said == f"s3://models/digits/model.pt: http://127.0.0.1:{closed_port} cannot be reached: Connection refused."


def test_nothing_secret_of_the_endpoint_is_told_when_it_has_a_password(closed_port: int) -> None:
    said = refusal(f"http://user:hunter2@127.0.0.1:{closed_port}")
    assert f"http://127.0.0.1:{closed_port} cannot be reached" in said
    assert "hunter2" not in said


def test_words_are_equal_each_time_when_something_else_answers(no_http: int) -> None:
    """Words with a time in them would write a status and an event with each attempt."""
    first, second = (refusal(f"http://127.0.0.1:{no_http}") for _ in range(2))
    assert first == second
    assert f"http://127.0.0.1:{no_http} cannot be reached: " in first
    assert "Generic" not in first
    assert "Error performing" not in first


def test_the_variable_is_named_when_amazons_store_was_asked_for_want_of_another(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
    said = refusal(None)
    assert "amazonaws.com cannot be reached" in said
    assert "AWS_ENDPOINT_URL is not set" in said
