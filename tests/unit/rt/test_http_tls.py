"""TLS on the inference port: which files are taken, what happens when they change, and HTTP inside of it."""

from __future__ import annotations

import logging
import shutil
import socket
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from slipway_runtime.contract import FailureReason, TLSConfig
from slipway_runtime.failure import StartupError
from slipway_runtime.http.tls import Certificate
from tests.unit.rt.certificates import write_pair
from tests.unit.rt.httploop import HttpLoop, eventually, post

pytestmark = pytest.mark.unit


def config(folder: Path) -> TLSConfig:
    return TLSConfig(certificate_path=str(folder / "tls.crt"), key_path=str(folder / "tls.key"))


def trusting(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(folder / "tls.crt"))


def careless() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def serial(loop: HttpLoop) -> int:
    """Of the certificate that a new connection is shown."""
    with loop.client(careless()) as client:
        assert isinstance(client.socket, ssl.SSLSocket)
        certificate = client.socket.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate).serial_number


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[HttpLoop]:
    write_pair(tmp_path, 1)
    with HttpLoop(tls=Certificate(config(tmp_path))) as loop:
        yield loop


def test_answers_over_tls(loop: HttpLoop, tmp_path: Path) -> None:
    with loop.client(trusting(tmp_path)) as client:
        assert isinstance(client.socket, ssl.SSLSocket)
        assert client.socket.version() in ("TLSv1.2", "TLSv1.3")
        body = bytes(range(256)) * 3000
        assert client.post("/echo", body).answer().body == body
        assert client.send(post("/echo", b"1") + post("/echo", b"2")).answer().body == b"1"
        assert client.answer().body == b"2"
        assert client.post("/asgi").answer().json["scheme"] == "https"
        assert client.send(b"nonsense\r\n\r\n").answer().code == "invalid_http"
        assert client.is_closed()


def test_tells_that_a_client_left(loop: HttpLoop, tmp_path: Path) -> None:
    with loop.client(trusting(tmp_path)) as client:
        client.post("/hold")
        held = loop.next_held()
    assert held.left.wait(2)


def test_refuses_old_versions(loop: HttpLoop) -> None:
    context = careless()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        loop.client(context)


def test_survives_clients_that_speak_no_tls(loop: HttpLoop, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for data in (post("/echo"), b"\x16\x03\x01\x00\x05hello", b""):
        with socket.create_connection(("127.0.0.1", loop.port), timeout=5) as plain:
            plain.sendall(data)
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(1000):
                pass
    with loop.client(trusting(tmp_path)) as client:
        assert client.post("/echo", b"alive").answer().body == b"alive"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_shows_new_connections_the_new_certificate_and_keeps_the_old_connections(
    loop: HttpLoop, tmp_path: Path
) -> None:
    with loop.client(trusting(tmp_path)) as old:
        assert serial(loop) == 1
        write_pair(tmp_path, 2)
        assert eventually(lambda: serial(loop) == 2)
        assert old.post("/echo", b"still").answer().body == b"still"


def test_keeps_the_old_certificate_when_the_new_files_are_bad(
    loop: HttpLoop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = tmp_path / "good"
    good.mkdir()
    write_pair(good, 3)
    shutil.copy(good / "tls.crt", tmp_path / "tls.crt")  # without its key
    assert eventually(lambda: "The old certificate stays" in caplog.text)
    assert serial(loop) == 1
    shutil.copy(good / "tls.key", tmp_path / "tls.key")
    assert eventually(lambda: serial(loop) == 3)


@pytest.mark.parametrize("bad", ["missing", "garbage", "other key", "encrypted", "folder"])
def test_does_not_start_with_files_that_are_no_pair(tmp_path: Path, bad: str) -> None:
    certificate, key = write_pair(tmp_path, 1, b"secret" if bad == "encrypted" else None)
    if bad == "missing":
        key.unlink()
    elif bad == "garbage":
        certificate.write_text("no certificate")
    elif bad == "folder":
        key.unlink()
        key.mkdir()
    elif bad == "other key":
        other = tmp_path / "other"
        other.mkdir()
        write_pair(other, 2)[1].rename(key)
    with pytest.raises(StartupError, match=r"^tls: ") as raised:
        Certificate(config(tmp_path))
    assert raised.value.reason is FailureReason.INVALID_CONFIG
    assert str(key) in raised.value.message or str(certificate) in raised.value.message
