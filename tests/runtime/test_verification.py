"""What the operator asks a runtime over the network: whether it predicts, whose server it is, how far it has come."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from slipway_runtime.contract import REVISION_HEADER, REVISION_VARIABLE, STATUS_PATH, VERIFY_PATH, RuntimeStatus
from tests.runtime.conftest import StartRuntime

pytestmark = pytest.mark.runtime

REVISION = {REVISION_VARIABLE: "0123456789abcdef"}


def test_the_model_predicts_for_whoever_checks_and_the_answer_names_the_revision(
    archives: Path, start_runtime: StartRuntime
) -> None:
    server = start_runtime("--uri", f"file://{archives}/linear.pt", "--name", "m", environment=REVISION)
    server.wait_until_ready()
    answer = httpx.post(server.uri + VERIFY_PATH)
    assert answer.status_code == 200, answer.text
    assert answer.headers[REVISION_HEADER] == "0123456789abcdef"
    told = RuntimeStatus.model_validate_json(answer.text)
    assert (told.revision, told.stage, told.format) == ("0123456789abcdef", "Serve", "TorchScript")
    assert told.digest is not None
    assert told.digest.startswith("sha256:")
    assert told.artifact_bytes == (archives / "linear.pt").stat().st_size
    stats = httpx.get(f"{server.uri}/v2/models/m/stats").json()["model_stats"][0]
    assert stats["execution_count"] >= 1
    progress = RuntimeStatus.model_validate_json(httpx.get(server.admin_uri + STATUS_PATH).text)
    assert progress == told


def test_without_a_key_the_check_is_refused_and_still_names_the_revision_through_a_route_as_well(
    archives: Path, start_runtime: StartRuntime, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("secret\n")
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(
            {
                "name": "m",
                "artifact": {"uri": f"file://{archives}/linear.pt"},
                "rootPath": "/models/m",
                "auth": {"apiKeysPath": str(keys)},
            }
        )
    )
    server = start_runtime("--config", str(config), environment=REVISION).wait_until_ready()
    for path in (VERIFY_PATH, f"/models/m{VERIFY_PATH}"):
        refused = httpx.post(server.uri + path)
        assert (refused.status_code, refused.headers[REVISION_HEADER]) == (401, "0123456789abcdef")
    elsewhere = httpx.post(server.uri + "/predict", json={})
    assert elsewhere.status_code == 401
    assert REVISION_HEADER not in elsewhere.headers
    for path in (VERIFY_PATH, f"/models/m{VERIFY_PATH}"):
        allowed = httpx.post(server.uri + path, headers={"Authorization": "Bearer secret"})
        assert (allowed.status_code, allowed.headers[REVISION_HEADER]) == (200, "0123456789abcdef")


@pytest.mark.parametrize("engine", ["InProcess", "Worker"])
def test_a_model_that_says_nothing_of_its_inputs_is_checked_with_samples_from_a_file(
    engine: str, archives: Path, start_runtime: StartRuntime, tmp_path: Path
) -> None:
    samples = tmp_path / "samples.json"
    samples.write_text(json.dumps([{"inputs": [{"name": "features", "shape": [-1, 4]}]}]))
    config = tmp_path / "config.json"
    said = {
        "name": "m",
        "artifact": {"uri": f"file://{archives}/plain.pt"},
        "warmupSamplesPath": str(samples),
        "engine": {"kind": engine},
        "tuning": {"enabled": False},
    }
    config.write_text(json.dumps(said))
    server = start_runtime("--config", str(config), environment=REVISION).wait_until_ready()
    assert httpx.post(server.uri + VERIFY_PATH).status_code == 200
    assert httpx.post(f"{server.uri}/predict", json={"inputs": {"features": [[1, 2, 3, 4]]}}).is_success
    (taken,) = httpx.get(f"{server.uri}/v2/models/m").json()["inputs"]
    assert (taken["name"], taken["datatype"], taken["shape"]) == ("features", "FP32", [-1, 4])


def test_a_sample_that_means_nothing_ends_the_start_before_anything_is_fetched(
    start_runtime: StartRuntime, tmp_path: Path
) -> None:
    samples = tmp_path / "samples.json"
    samples.write_text(json.dumps([{"inputs": [{"name": "features", "shape": [-1, 0]}]}]))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"name": "m", "artifact": {"uri": "file:///none"}, "warmupSamplesPath": str(samples)}))
    server = start_runtime("--config", str(config))
    assert server.wait() == 2
    message = server.termination_message()
    assert message is not None
    assert (message.stage, message.reason) == ("Config", "InvalidConfig")
    assert f"{samples}: [0].inputs[0].shape[1]: got 0: expected -1 or at least 1" in message.message
