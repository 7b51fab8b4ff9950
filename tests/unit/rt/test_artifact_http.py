"""Fetching over http: what is retried, what is resumed, what fails at once and under which reason."""

from __future__ import annotations

import hashlib
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway_runtime.artifact.fetch import Fetched, RetryPolicy, fetch_artifact, resolved_uri
from slipway_runtime.artifact.source import ArtifactError
from slipway_runtime.contract import ArtifactConfig, FailureReason
from tests.runtime.misbehaving import Connection, Request, ScriptedServer, serve_script

pytestmark = pytest.mark.unit

CONTENT = bytes(range(256)) * 4096
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
HALF = len(CONTENT) // 2
IMPATIENT = RetryPolicy(fruitless_attempts=3, first_pause_seconds=0.01, longest_pause_seconds=0.02)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with serve_script() as script:
        yield script


def fetch(
    uri: str,
    folder: Path,
    *,
    digest: str | None = None,
    stall_seconds: int = 5,
    environment: dict[str, str] | None = None,
) -> Fetched:
    config = ArtifactConfig(uri=uri, digest=digest, stall_timeout_seconds=stall_seconds)
    return fetch_artifact(config, folder, policy=IMPATIENT, environment=environment or {})


def refusal(uri: str, folder: Path, **options: object) -> ArtifactError:
    with pytest.raises(ArtifactError) as raised:
        fetch(uri, folder, **options)  # type: ignore[arg-type]
    assert not list(folder.rglob("*.partial")), "a failed fetch leaves nothing half written behind"
    return raised.value


def whole(request: Request, connection: Connection) -> None:
    connection.answer(200, CONTENT, etag='"v1"')


def first_half(request: Request, connection: Connection) -> None:
    connection.head(200, content_length=str(len(CONTENT)), etag='"v1"')
    connection.send(CONTENT[:HALF])


def ranged(request: Request, connection: Connection) -> None:
    """Like a real server: the rest when If-Range still holds, the whole otherwise."""
    wanted = request.headers.get("range")
    if wanted is None or request.headers.get("if-range") not in (None, '"v1"'):
        return whole(request, connection)
    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
    rest = CONTENT[start:]
    connection.answer(206, rest, etag='"v1"', content_range=f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
    return None


def test_places_the_file_under_its_digest(server: ScriptedServer, tmp_path: Path) -> None:
    server.answers = [whole]
    fetched = fetch(f"{server.uri}/model.pt", tmp_path)
    assert fetched.path.read_bytes() == CONTENT
    assert fetched.path == tmp_path / "sha256" / DIGEST.removeprefix("sha256:")
    assert (fetched.digest, fetched.size_bytes) == (DIGEST, len(CONTENT))


def test_reuses_the_cached_file_when_the_digest_is_known(server: ScriptedServer, tmp_path: Path) -> None:
    server.answers = [whole]
    fetch(f"{server.uri}/model.pt", tmp_path, digest=DIGEST)
    again = fetch(f"{server.uri}/model.pt", tmp_path, digest=DIGEST)
    assert len(server.requests) == 1
    assert again.received_bytes == 0
    assert again.path.read_bytes() == CONTENT


def test_fetches_anew_when_the_cached_file_is_damaged(server: ScriptedServer, tmp_path: Path) -> None:
    server.answers = [whole]
    path = fetch(f"{server.uri}/model.pt", tmp_path, digest=DIGEST).path
    path.write_bytes(b"damaged")
    assert fetch(f"{server.uri}/model.pt", tmp_path, digest=DIGEST).path.read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_removes_what_an_earlier_killed_run_left(server: ScriptedServer, tmp_path: Path) -> None:
    left_behind = tmp_path / "sha256" / "tmpabc.partial"
    left_behind.parent.mkdir()
    left_behind.write_bytes(b"half")
    server.answers = [whole]
    fetch(f"{server.uri}/model.pt", tmp_path)
    assert not left_behind.exists()


def test_resumes_with_range_and_etag_when_the_connection_breaks(server: ScriptedServer, tmp_path: Path) -> None:
    server.answers = [first_half, ranged]
    fetched = fetch(f"{server.uri}/model.pt", tmp_path)
    assert fetched.path.read_bytes() == CONTENT
    resumed = server.requests[1].headers
    assert resumed["if-range"] == '"v1"'
    assert 0 < int(resumed["range"].removeprefix("bytes=").removesuffix("-")) <= HALF


def test_begins_again_when_the_file_changed_between_two_attempts(server: ScriptedServer, tmp_path: Path) -> None:
    def older_half(request: Request, connection: Connection) -> None:
        connection.head(200, content_length=str(len(CONTENT)), etag='"v0"')
        connection.send(b"x" * HALF)

    server.answers = [older_half, ranged]
    assert fetch(f"{server.uri}/model.pt", tmp_path).digest == DIGEST


def test_begins_again_when_nothing_would_tell_two_files_apart(server: ScriptedServer, tmp_path: Path) -> None:
    def unnamed_half(request: Request, connection: Connection) -> None:
        connection.head(200, content_length=str(len(CONTENT)))
        connection.send(b"x" * HALF)

    server.answers = [unnamed_half, whole]
    assert fetch(f"{server.uri}/model.pt", tmp_path).digest == DIGEST
    assert "range" not in server.requests[1].headers


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_tries_again_when_the_server_has_a_moment_of_weakness(
    server: ScriptedServer, tmp_path: Path, status: int
) -> None:
    server.answers = [lambda request, connection: connection.answer(status), whole]
    assert fetch(f"{server.uri}/model.pt", tmp_path).digest == DIGEST


def test_gives_up_when_no_attempt_makes_progress(server: ScriptedServer, tmp_path: Path) -> None:
    server.answers = [lambda request, connection: connection.answer(500)]
    error = refusal(f"{server.uri}/model.pt", tmp_path)
    assert error.reason == FailureReason.ARTIFACT_UNREACHABLE
    assert "500" in error.message
    assert "3 attempts" in error.message
    assert len(server.requests) == 3


@pytest.mark.feature("download-stall")
@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, FailureReason.ARTIFACT_UNAUTHENTICATED),
        (403, FailureReason.ARTIFACT_FORBIDDEN),
        (404, FailureReason.ARTIFACT_NOT_FOUND),
        (410, FailureReason.ARTIFACT_NOT_FOUND),
        (400, FailureReason.ARTIFACT_UNREACHABLE),
    ],
)
def test_fails_at_once_under_its_own_reason(
    server: ScriptedServer, tmp_path: Path, status: int, reason: FailureReason
) -> None:
    server.answers = [lambda request, connection: connection.answer(status)]
    error = refusal(f"{server.uri}/model.pt?X-Signature=secret", tmp_path)
    assert error.reason == reason
    assert len(server.requests) == 1
    assert "secret" not in error.message


@pytest.mark.feature("download-stall")
def test_is_stalled_when_no_byte_comes(server: ScriptedServer, tmp_path: Path) -> None:
    def stall(request: Request, connection: Connection) -> None:
        connection.head(200, content_length=str(len(CONTENT)))
        connection.send(CONTENT[:1000])
        connection.wait(30)

    server.answers = [stall]
    assert refusal(f"{server.uri}/model.pt", tmp_path, stall_seconds=1).reason == FailureReason.ARTIFACT_STALLED


def test_is_stalled_when_no_answer_begins(server: ScriptedServer, tmp_path: Path) -> None:
    server.answers = [lambda request, connection: connection.wait(30)]
    assert refusal(f"{server.uri}/model.pt", tmp_path, stall_seconds=1).reason == FailureReason.ARTIFACT_STALLED


def test_is_unreachable_when_the_server_always_breaks_off(server: ScriptedServer, tmp_path: Path) -> None:
    server.answers = [lambda request, connection: None]
    assert refusal(f"{server.uri}/model.pt", tmp_path).reason == FailureReason.ARTIFACT_UNREACHABLE


def test_is_unreachable_when_the_connection_is_refused(tmp_path: Path) -> None:
    with serve_script() as gone:
        uri = gone.uri
    error = refusal(f"{uri}/model.pt", tmp_path)
    assert error.reason == FailureReason.ARTIFACT_UNREACHABLE
    assert "refused" in error.message


def test_is_unreachable_when_the_name_does_not_resolve(tmp_path: Path) -> None:
    error = refusal("http://no-such-host.invalid/model.pt", tmp_path)
    assert error.reason == FailureReason.ARTIFACT_UNREACHABLE
    assert "does not resolve" in error.message


def test_is_unreachable_when_tls_is_spoken_to_a_plain_server(server: ScriptedServer, tmp_path: Path) -> None:
    server.answers = [whole]
    error = refusal(f"https://127.0.0.1:{server.port}/model.pt", tmp_path)
    assert error.reason == FailureReason.ARTIFACT_UNREACHABLE
    assert "TLS" in error.message


@pytest.mark.feature("checksum")
def test_is_a_mismatch_when_the_digest_differs(server: ScriptedServer, tmp_path: Path) -> None:
    server.answers = [whole]
    error = refusal(f"{server.uri}/model.pt", tmp_path, digest="sha256:" + "0" * 64)
    assert error.reason == FailureReason.DIGEST_MISMATCH
    assert DIGEST in error.message
    assert not list((tmp_path / "sha256").iterdir()), "a file that differs is not kept"


def test_is_refused_before_the_download_when_the_disk_cannot_hold_it(server: ScriptedServer, tmp_path: Path) -> None:
    server.answers = [lambda request, connection: connection.head(200, content_length=str(2**60))]
    assert refusal(f"{server.uri}/model.pt", tmp_path).reason == FailureReason.NO_SPACE_LEFT


def test_is_out_of_space_when_the_disk_fills_while_writing(server: ScriptedServer, tmp_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    server.answers = [whole]
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, limit[1]))
    try:
        error = refusal(f"{server.uri}/model.pt", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert error.reason == FailureReason.NO_SPACE_LEFT


def test_names_the_variable_when_the_cache_folder_cannot_be_made(server: ScriptedServer) -> None:
    server.answers = [whole]
    error = refusal(f"{server.uri}/model.pt", Path("/dev/null/cache"))
    assert error.reason == FailureReason.INVALID_CONFIG
    assert "SLIPWAY_CACHE_DIR" in error.message


def test_follows_a_redirect(server: ScriptedServer, tmp_path: Path) -> None:
    server.answers = [lambda request, connection: connection.answer(302, location="/elsewhere"), whole]
    assert fetch(f"{server.uri}/model.pt", tmp_path).digest == DIGEST
    assert server.requests[1].path == "/elsewhere"


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://example.com/model.pt", "gopher://x/", ""])
def test_follows_no_redirect_out_of_http(server: ScriptedServer, tmp_path: Path, target: str) -> None:
    server.answers = [lambda request, connection: connection.answer(302, location=target)]
    error = refusal(f"{server.uri}/model.pt", tmp_path)
    assert error.reason == FailureReason.ARTIFACT_UNREACHABLE
    assert "not followed" in error.message


def test_follows_no_endless_redirect(server: ScriptedServer, tmp_path: Path) -> None:
    server.answers = [lambda request, connection: connection.answer(302, location="/again")]
    assert "redirects more than" in refusal(f"{server.uri}/model.pt", tmp_path).message
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HTTP_BEARER_TOKEN": "t0ken"}, "Bearer t0ken"),
        ({"HTTP_USERNAME": "ann", "HTTP_PASSWORD": "pw"}, "Basic YW5uOnB3"),
    ],
)
def test_sends_credentials_to_the_uris_own_origin_only(
    server: ScriptedServer, tmp_path: Path, environment: dict[str, str], expected: str
) -> None:
    with serve_script() as other:
        other.answers = [whole]
        server.answers = [lambda request, connection: connection.answer(302, location=f"{other.uri}/model.pt")]
        fetch(f"{server.uri}/model.pt", tmp_path, environment=environment)
        assert server.requests[0].headers["authorization"] == expected
        assert "authorization" not in other.requests[0].headers


def test_refuses_content_that_the_server_encoded_unasked(server: ScriptedServer, tmp_path: Path) -> None:
    server.answers = [lambda request, connection: connection.answer(200, CONTENT, content_encoding="gzip")]
    assert "Content-Encoding" in refusal(f"{server.uri}/model.pt", tmp_path).message


def test_tells_where_the_file_came_from_without_what_a_redirect_signed(server: ScriptedServer, tmp_path: Path) -> None:
    signed = "/blobs/0a1b?X-Amz-Signature=hunter2&token=hunter2"
    server.answers = [lambda request, connection: connection.answer(302, location=signed), whole]
    fetched = fetch(f"{server.uri}/model.pt?download=hunter2", tmp_path)
    assert server.requests[1].path == signed
    assert fetched.resolved_uri == f"{server.uri}/blobs/0a1b?…#etag=v1"


@pytest.mark.parametrize("etag", ['"v1 <script>"', 'W/"v1"', '""', f'"{"a" * 300}"', ""])
def test_an_etag_that_names_nothing_is_not_told(server: ScriptedServer, tmp_path: Path, etag: str) -> None:
    server.answers = [lambda request, connection: connection.answer(200, CONTENT, etag=etag)]
    assert fetch(f"{server.uri}/model.pt", tmp_path).resolved_uri == f"{server.uri}/model.pt"


def test_what_comes_from_the_cache_is_told_by_its_uri(server: ScriptedServer, tmp_path: Path) -> None:
    server.answers = [whole]
    fetch(f"{server.uri}/model.pt", tmp_path, digest=DIGEST)
    again = fetch(f"{server.uri}/model.pt?key=hunter2", tmp_path, digest=DIGEST)
    assert again.resolved_uri == f"{server.uri}/model.pt?…"


def test_a_version_that_the_store_keeps_says_more_than_an_etag() -> None:
    assert (
        resolved_uri("s3://models/a.pt", "3L4kqtJlcpXroDTDmJ", '"0a1b"')
        == "s3://models/a.pt#versionId=3L4kqtJlcpXroDTDmJ"
    )
    assert resolved_uri("s3://models/a.pt", "null", '"0a1b-2"') == "s3://models/a.pt#etag=0a1b-2"
