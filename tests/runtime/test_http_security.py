"""TLS and API keys of the real runtime, as a mounted Secret brings them."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.runtime.conftest import StartRuntime
from tests.runtime.server import RuntimeServer
from tests.unit.rt.certificates import write_pair
from tests.unit.rt.httploop import eventually

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(300)]

KEY = "correct-horse"


@dataclass
class Secured:
    server: RuntimeServer
    folder: Path

    def client(self, key: str | None = KEY) -> httpx.Client:
        trusted = ssl.create_default_context(cafile=str(self.folder / "tls.crt"))
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        port = self.server.uri.rpartition(":")[2]
        return httpx.Client(base_url=f"https://localhost:{port}", verify=trusted, headers=headers, timeout=30)


def mount(folder: Path, key: str) -> None:
    """As the kubelet does it: a folder per version, and a link that is moved at once."""
    version = folder / f"..{key}"
    version.mkdir()
    (version / "team-a").write_text(f"{key}\n")
    if not (folder / "team-a").is_symlink():
        (folder / "team-a").symlink_to("..data/team-a")
    (folder / "..next").symlink_to(version.name)
    (folder / "..next").rename(folder / "..data")


@pytest.fixture(scope="module")
def secured(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    certificate, key = write_pair(folder, 1)
    keys = folder / "keys"
    keys.mkdir()
    mount(keys, KEY)
    config = {
        "name": "linear",
        "artifact": {"uri": f"file://{archives}/linear.pt"},
        "tls": {"certificatePath": str(certificate), "keyPath": str(key)},
        "auth": {"apiKeysPath": str(keys)},
    }
    (folder / "config.json").write_text(json.dumps(config))
    server = RuntimeServer(folder / "run", "--config", str(folder / "config.json"))
    try:
        yield Secured(server.wait_until_ready(), folder)
    finally:
        server.kill()


@pytest.mark.feature("auth")
def test_answers_who_has_a_key_and_tells_the_rest_how_to_show_one(secured: Secured) -> None:
    with secured.client() as client:
        response = client.post("/predict", json=[[1, 0, 0, 0]])
        assert (response.status_code, response.json()["outputs"]["scores"]) == (200, [[0.5, 3.5, 8.0]])
        assert client.get("/v2/models/linear").status_code == 200
        assert client.get("/openapi.json").status_code == 200
    for key in (None, "wrong", ""):
        with secured.client(key) as stranger:
            for path in ("/v2/models/linear", "/openapi.json", "/docs", "/v2", "/nowhere"):
                response = stranger.get(path)
                assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
            response = stranger.post("/predict", json=[[1, 0, 0, 0]])
            assert response.status_code == 401
            assert "X-API-Key" in response.json()["error"]
            assert stranger.get("/v2/health/ready").status_code == 200
            assert stranger.get("/v2/health/live").status_code == 200
    with secured.client(None) as client:
        assert client.post("/predict", json=[[1, 0, 0, 0]], headers={"X-API-Key": KEY}).status_code == 200


def test_keeps_probes_and_metrics_plain(secured: Secured) -> None:
    assert httpx.get(f"{secured.server.admin_uri}/readyz").status_code == 200
    assert 'slipway_runtime_http_refusals_total{reason="unauthenticated"}' in secured.server.metrics()


@pytest.mark.feature("auth")
def test_takes_new_keys_and_certificates_without_a_restart(secured: Secured) -> None:
    mount(secured.folder / "keys", "battery-staple")

    def status(key: str) -> int:
        with secured.client(key) as client:
            return client.get("/v2").status_code

    assert eventually(lambda: status("battery-staple") == 200)
    assert status(KEY) == 401
    write_pair(secured.folder, 2)

    def trusts_the_new_one() -> bool:
        try:
            return status("battery-staple") == 200
        except httpx.ConnectError:  # the old certificate is still shown
            return False

    assert eventually(trusts_the_new_one)
    log = json.dumps(secured.server.log) + secured.server.errors
    assert "battery-staple" not in log
    assert KEY not in log


@pytest.mark.parametrize("files", ["missing", "strangers"])
def test_does_not_start_with_a_certificate_that_cannot_be_used(
    start_runtime: StartRuntime, archives: Path, tmp_path: Path, files: str
) -> None:
    if files == "strangers":
        write_pair(tmp_path, 1)
        (tmp_path / "tls.key").write_text("no key")
    config = {
        "name": "linear",
        "artifact": {"uri": f"file://{archives}/linear.pt"},
        "tls": {"certificatePath": str(tmp_path / "tls.crt"), "keyPath": str(tmp_path / "tls.key")},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    server = start_runtime("--config", str(tmp_path / "config.json"))
    assert server.wait() == 2
    message = server.termination_message()
    assert message is not None
    assert (message.reason, message.message.startswith("tls: ")) == ("InvalidConfig", True)
