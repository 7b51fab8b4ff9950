"""Artifacts in a real S3 server: signed, refused, missing, large, behind a server that goes away."""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from obstore.store import S3Store

from slipway_runtime.artifact.fetch import Fetched, RetryPolicy, fetch_artifact
from slipway_runtime.artifact.source import ArtifactError
from slipway_runtime.contract import ArtifactConfig, FailureReason
from tests.cluster import components
from tests.runtime.conftest import StartRuntime
from tests.runtime.misbehaving import serve_script

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(300)]

IMPATIENT = RetryPolicy(fruitless_attempts=2, first_pause_seconds=0.01, longest_pause_seconds=0.02)
REGION = "us-east-1"


@dataclass(frozen=True)
class Store:
    endpoint: str
    folder: Path
    environment: dict[str, str]

    def put(self, key: str, content: bytes) -> None:
        self._bucket().put(key, content)

    def etag(self, key: str) -> str:
        """As the store lists it, without quotes."""
        return str(self._bucket().head(key)["e_tag"]).strip('"')

    def _bucket(self) -> S3Store:
        return S3Store(
            "models",
            endpoint=self.endpoint,
            region=REGION,
            access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            client_options={"allow_http": True},
        )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("s3")
    (folder / "buckets" / "models").mkdir(parents=True)
    with serve_script() as free:
        port = free.port
    keys = {"ROOT_ACCESS_KEY": "reader", "ROOT_SECRET_KEY": secrets.token_hex(16)}
    command = [str(components.ensure("versitygw")), "--port", f"127.0.0.1:{port}", "--region", REGION]
    with (folder / "versitygw.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "posix", str(folder / "buckets")], env={**os.environ, **keys}, stdout=log, stderr=log
        )
    endpoint = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 20
    while True:
        try:
            httpx.get(endpoint)
            break
        except httpx.TransportError:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail((folder / "versitygw.log").read_text())
            time.sleep(0.1)
    environment = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": keys["ROOT_ACCESS_KEY"],
        "AWS_SECRET_ACCESS_KEY": keys["ROOT_SECRET_KEY"],
    }
    yield Store(endpoint, folder, environment)
    process.terminate()
    process.wait(10)


def fetch(key: str, cache: Path, environment: dict[str, str], stall_seconds: int = 5) -> Fetched:
    config = ArtifactConfig(uri=f"s3://{key}", stall_timeout_seconds=stall_seconds)
    return fetch_artifact(config, cache, policy=IMPATIENT, environment=environment)


def refusal(key: str, cache: Path, environment: dict[str, str], stall_seconds: int = 5) -> ArtifactError:
    with pytest.raises(ArtifactError) as raised:
        fetch(key, cache, environment, stall_seconds)
    assert environment.get("AWS_SECRET_ACCESS_KEY", "none") not in raised.value.message
    return raised.value


def test_fetches_an_object(store: Store, tmp_path: Path) -> None:
    content = secrets.token_bytes(9_000_000)
    store.put("large/model v1+final.pt", content)
    fetched = fetch("models/large/model v1+final.pt", tmp_path, store.environment)
    assert fetched.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert fetched.path.read_bytes() == content
    where, mark, etag = fetched.resolved_uri.partition("#etag=")
    assert (where, mark) == ("s3://models/large/model v1+final.pt", "#etag=")
    assert etag == store.etag("large/model v1+final.pt")


@pytest.mark.parametrize("key", ["models/missing.pt", "nowhere/model.pt"])
def test_is_not_found_when_object_or_bucket_are_missing(store: Store, tmp_path: Path, key: str) -> None:
    assert refusal(key, tmp_path, store.environment).reason == FailureReason.ARTIFACT_NOT_FOUND


def test_misses_credentials_when_none_are_given(store: Store, tmp_path: Path) -> None:
    store.put("model.pt", b"weights")
    error = refusal("models/model.pt", tmp_path, {"AWS_ENDPOINT_URL": store.endpoint})
    assert error.reason == FailureReason.CREDENTIALS_MISSING
    assert "spec.artifact.credentials.secretRef.name" in error.message


@pytest.mark.parametrize(
    "wrong", [{"AWS_SECRET_ACCESS_KEY": "wrong"}, {"AWS_ACCESS_KEY_ID": "nobody"}], ids=["secret", "key"]
)
def test_is_forbidden_when_the_credentials_are_wrong(store: Store, tmp_path: Path, wrong: dict[str, str]) -> None:
    store.put("model.pt", b"weights")
    error = refusal("models/model.pt", tmp_path, {**store.environment, **wrong})
    assert error.reason == FailureReason.ARTIFACT_FORBIDDEN


def test_is_unreachable_when_nothing_listens(store: Store, tmp_path: Path) -> None:
    with serve_script() as gone:
        endpoint = gone.uri
    error = refusal("models/model.pt", tmp_path, {**store.environment, "AWS_ENDPOINT_URL": endpoint})
    assert error.reason == FailureReason.ARTIFACT_UNREACHABLE


def test_is_unreachable_when_the_store_is_broken(store: Store, tmp_path: Path) -> None:
    with serve_script() as broken:
        broken.answers = [lambda request, connection: connection.answer(500)]
        error = refusal("models/model.pt", tmp_path, {**store.environment, "AWS_ENDPOINT_URL": broken.uri})
        assert len(broken.requests) == 2
    assert error.reason == FailureReason.ARTIFACT_UNREACHABLE
    assert "500" in error.message


@pytest.mark.feature("download-stall")
def test_is_stalled_when_the_store_sends_nothing(store: Store, tmp_path: Path) -> None:
    with serve_script() as mute:
        mute.answers = [lambda request, connection: connection.wait(30)]
        error = refusal("models/model.pt", tmp_path, {**store.environment, "AWS_ENDPOINT_URL": mute.uri}, 1)
    assert error.reason == FailureReason.ARTIFACT_STALLED


def test_resumes_when_the_connection_breaks(store: Store, tmp_path: Path) -> None:
    content = secrets.token_bytes(3_000_000)
    common = {"etag": '"v1"', "last_modified": "Sat, 21 Nov 2026 04:00:00 GMT"}
    with serve_script() as breaking:

        def half(request: object, connection: object) -> None:
            connection.head(200, content_length=str(len(content)), **common)  # type: ignore[attr-defined]
            connection.send(content[:2_000_000])  # type: ignore[attr-defined]

        def rest(request: object, connection: object) -> None:
            start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))  # type: ignore[attr-defined]
            connection.answer(  # type: ignore[attr-defined]
                206, content[start:], content_range=f"bytes {start}-{len(content) - 1}/{len(content)}", **common
            )

        breaking.answers = [half, rest]
        fetched = fetch("models/model.pt", tmp_path, {**store.environment, "AWS_ENDPOINT_URL": breaking.uri})
        assert breaking.requests[1].headers["if-match"] == '"v1"'
    assert fetched.path.read_bytes() == content


@pytest.mark.feature("no-code")
def test_serves_from_the_store(store: Store, start_runtime: StartRuntime, archives: Path) -> None:
    store.put("linear.pt", (archives / "linear.pt").read_bytes())
    server = start_runtime("--uri", "s3://models/linear.pt", "--name", "linear", environment=store.environment)
    server.wait_until_ready()
    assert httpx.post(f"{server.uri}/predict", json=[[0, 0, 0, 0]]).json()["outputs"]["scores"] == [[0.5, -0.5, 0.0]]
    assert 'slipway_runtime_artifact_bytes_total{scheme="s3"}' in server.metrics()
