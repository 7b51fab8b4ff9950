"""From a start to readiness, or to an end that says why."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from pathlib import Path

import httpx
import pytest

from slipway_runtime.contract import STATUS_PATH, FailureReason, RuntimeStatus, Stage
from tests.runtime.conftest import StartRuntime
from tests.runtime.misbehaving import Connection, Request, serve_script

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(300)]


def test_probes_answer_and_predictions_wait_while_the_artifact_is_fetched(start_runtime: StartRuntime) -> None:
    def trickle(request: Request, connection: Connection) -> None:
        connection.head(200, content_length="3000000")
        connection.send(b"x" * 2_000_000)
        connection.wait(60)

    with serve_script() as store:
        store.answers = [trickle]
        server = start_runtime("--uri", f"{store.uri}/model.pt", "--name", "m").wait_until_alive()
        deadline = time.monotonic() + 30
        while "MiB" not in httpx.get(f"{server.admin_uri}/startupz").json()["stage"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for path, status in {"/startupz": 503, "/readyz": 503, "/livez": 200, "/metrics": 200}.items():
            assert httpx.get(server.admin_uri + path).status_code == status, path
        assert httpx.get(f"{server.uri}/v2/health/live").status_code == 200
        for path in ("/v2/health/ready", "/v2/models/m/ready", "/predict", "/docs"):
            response = httpx.get(server.uri + path)
            assert (response.status_code, response.json()["code"]) == (503, "loading")
            assert int(response.headers["retry-after"]) > 0
        server.terminate()
        assert server.wait(5) == 0, "a stop ends the download at once"
    assert server.termination_message() is None


def test_serves_from_the_cache_while_the_store_is_away(
    start_runtime: StartRuntime, archives: Path, tmp_path: Path
) -> None:
    content = (archives / "linear.pt").read_bytes()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    cached = tmp_path / "cache" / "sha256" / digest.removeprefix("sha256:")
    cached.parent.mkdir(parents=True)
    cached.write_bytes(content)
    server = start_runtime(
        "--uri",
        "https://store.invalid/model.pt",
        "--digest",
        digest,
        environment={"SLIPWAY_CACHE_DIR": str(tmp_path / "cache")},
    ).wait_until_ready()
    assert httpx.get(f"{server.uri}/v2/models/model").status_code == 200
    assert f'digest="{digest}"' in server.metrics()
    assert 'slipway_runtime_model_load_seconds{stage="warm_up"}' in server.metrics()
    server.interrupt()
    assert server.wait(10) == 0, "Ctrl-C at a terminal waits for no endpoint"


def test_reads_the_file_and_lets_flags_win(start_runtime: StartRuntime, archives: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"name": "file", "artifact": {"uri": "file:///nowhere.pt"}}))
    server = start_runtime("--config", str(config), "--uri", f"file://{archives}/linear.pt").wait_until_ready()
    assert httpx.get(f"{server.uri}/v2/models/file").status_code == 200


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "is not JSON"),
        ("[]", "got a JSON list"),
        ("{}", "artifact.uri: missing"),
        ('{"artifact": 5}', "artifact"),
        ('{"artifact": {"uri": "file:///m.pt"}, "replicas": 2}', "replicas"),
        ('{"artifact": {"uri": "file:///m.pt"}, "requestTimeoutSeconds": 0}', "requestTimeoutSeconds: got 0"),
        ('{"artifact": {"uri": "file:///m.pt"}, "name": "a/b"}', "name: got 'a/b'"),
        ('{"artifact": {"uri": "file:///m.pt", "digest": "md5:1"}}', "artifact.digest"),
        ('{"artifact": {"uri": "https://user:hunter2@host/m.pt"}}', "HTTP_USERNAME"),
        ('{"artifact": {"uri": "s3://bucket"}}', "names no file"),
    ],
)
def test_ends_with_one_line_when_the_configuration_is_wrong(
    start_runtime: StartRuntime, tmp_path: Path, content: str, expected: str
) -> None:
    config = tmp_path / "config.json"
    config.write_text(content)
    server = start_runtime("--config", str(config))
    assert server.wait() == 2
    message = server.termination_message()
    assert message is not None
    assert (message.stage, message.reason) == (Stage.CONFIG, FailureReason.INVALID_CONFIG)
    assert expected in message.message
    assert server.errors == f"slipway-runtime: InvalidConfig: {message.message}\n"
    assert "hunter2" not in server.errors


def test_ends_with_its_reason_when_the_scheme_is_unknown(start_runtime: StartRuntime) -> None:
    server = start_runtime("--uri", "ftp://host/model.pt")
    assert server.wait() == 2
    message = server.termination_message()
    assert message is not None
    assert message.reason == FailureReason.UNSUPPORTED_SCHEME


def test_ends_with_its_reason_when_a_port_is_taken(start_runtime: StartRuntime) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = start_runtime("--uri", "file:///m.pt", "--port", str(port))
        assert server.wait() == 2
    message = server.termination_message()
    assert message is not None
    assert message.reason == FailureReason.PORT_IN_USE
    assert str(port) in message.message


@pytest.mark.parametrize(
    ("flags", "stage", "reason"),
    [
        (["--uri", "file:///nowhere.pt"], Stage.FETCH, FailureReason.ARTIFACT_NOT_FOUND),
        (["--uri", f"file://{__file__}"], Stage.LOAD, FailureReason.UNSUPPORTED_FORMAT),
        (
            ["--uri", f"file://{__file__}", "--digest", "sha256:" + "0" * 64],
            Stage.VERIFY,
            FailureReason.DIGEST_MISMATCH,
        ),
    ],
)
def test_ends_with_stage_and_reason_when_the_artifact_is_not_to_be_served(
    start_runtime: StartRuntime, flags: list[str], stage: Stage, reason: FailureReason
) -> None:
    server = start_runtime(*flags)
    assert server.wait() == 1
    message = server.termination_message()
    assert message is not None
    assert (message.stage, message.reason) == (stage, reason)
    assert server.log[-1]["reason"] == reason


def test_ends_with_its_reason_when_nothing_tells_the_inputs(start_runtime: StartRuntime, archives: Path) -> None:
    server = start_runtime("--uri", f"file://{archives}/plain.pt")
    assert server.wait() == 1
    message = server.termination_message()
    assert message is not None
    assert message.reason == FailureReason.SIGNATURE_MISSING
    assert "slipway.torchscript.save" in message.message
    assert "spec.runtime.warmup.samples" in message.message


@pytest.mark.feature("format-detection", "runtime-by-format")
def test_the_loader_is_chosen_by_content_or_by_the_field_and_log_and_status_tell_it(
    start_runtime: StartRuntime, archives: Path, tmp_path: Path
) -> None:
    misnamed = tmp_path / "handler.py"
    misnamed.write_bytes((archives / "linear.pt").read_bytes())
    code = Path(__file__).parent / "clients" / "echo.py"
    cases = [
        (misnamed, "Auto", "TorchScript", "its content is TorchScript"),
        (misnamed, "TorchScript", "TorchScript", "spec.artifact.format is TorchScript"),
        (code, "Python", "Python", "code is never chosen by content"),
    ]
    for path, asked, loader, why in cases:
        server = start_runtime("--uri", f"file://{path}", "--format", asked).wait_until_ready()
        told = RuntimeStatus.model_validate_json(httpx.get(server.admin_uri + STATUS_PATH).text)
        assert (told.format, told.loader, told.resolved_uri) == (loader, loader, f"file://{path}")
        (line,) = [line for line in server.log if "loader" in line]
        assert (line["loader"], line["format"]) == (loader, loader)
        assert why in line["message"]
        server.kill()


@pytest.mark.feature("format-detection", "runtime-by-format")
@pytest.mark.parametrize(
    ("asked", "says"), [("Python", "handler"), ("TorchScript", "Python code, which is run only when it is asked for")]
)
def test_a_field_overrides_the_content_and_what_then_cannot_be_loaded_is_refused(
    start_runtime: StartRuntime, archives: Path, asked: str, says: str
) -> None:
    path = archives / "linear.pt" if asked == "Python" else Path(__file__).parent / "clients" / "echo.py"
    server = start_runtime("--uri", f"file://{path}", "--format", asked)
    assert server.wait() == 1
    message = server.termination_message()
    assert message is not None
    assert message.reason in (FailureReason.UNSUPPORTED_FORMAT, FailureReason.MODEL_LOAD_FAILED)
    assert says in message.message


def test_stops_at_once_when_told_so_before_it_serves(start_runtime: StartRuntime, archives: Path) -> None:
    server = start_runtime("--uri", f"file://{archives}/linear.pt").wait_until_alive()
    server.terminate()
    assert server.wait(20) == 0


def test_hides_queries_of_uris_in_everything_it_writes(start_runtime: StartRuntime) -> None:
    with serve_script() as store:
        store.answers = [lambda request, connection: connection.answer(403)]
        server = start_runtime("--uri", f"{store.uri}/model.pt?X-Amz-Signature=hunter2")
        assert server.wait() == 1
    message = server.termination_message()
    assert message is not None
    assert message.reason == FailureReason.ARTIFACT_FORBIDDEN
    assert "hunter2" not in message.message + server.errors + json.dumps(server.log)
