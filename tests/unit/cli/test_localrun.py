"""What a local run tells its user."""

from __future__ import annotations

import json
import shlex
import socket
from pathlib import Path
from typing import Any

import pytest

from slipway.localrun import (
    Launch,
    describe_end,
    example_command,
    find_port_conflict,
    local_config,
    missing_packages,
)
from slipway_operator.api.v1alpha1 import ModelDeploymentSpec
from slipway_operator.render.runtime_config import render_runtime_config
from slipway_runtime.contract import ArtifactConfig, FailureReason, RuntimeConfig, Stage, TerminationMessage

pytestmark = pytest.mark.unit

URL = "http://127.0.0.1:8080/v2/models/digits"


def tensor(datatype: str = "FP32", shape: tuple[int, ...] = (-1, 2)) -> dict[str, Any]:
    return {"name": "x", "datatype": datatype, "shape": list(shape)}


def body_of(command: str) -> dict[str, Any]:
    words = shlex.split(command)
    assert words[:3] == ["curl", "-s", f"{URL}/infer"]
    body: dict[str, Any] = json.loads(words[words.index("-d") + 1])
    return body


@pytest.mark.parametrize(("datatype", "zero"), [("FP32", 0), ("BOOL", False), ("BYTES", ""), ("INT64", 0)])
def test_the_command_to_paste_sends_one_row_of_zeros_when_the_inputs_are_small(datatype: str, zero: Any) -> None:
    body = body_of(example_command(URL, {"inputs": [tensor(datatype)]}))
    assert body == {"inputs": [{"name": "x", "datatype": datatype, "shape": [1, 2], "data": [zero, zero]}]}


@pytest.mark.parametrize(
    "inputs", [[], [tensor(shape=(-1, 3, 224, 224))], [tensor(shape=(200,)), tensor(shape=(100,))]]
)
def test_the_command_to_paste_asks_for_the_description_when_a_request_would_be_too_long(
    inputs: list[dict[str, Any]],
) -> None:
    assert example_command(URL, {"inputs": inputs}) == f"curl -s {URL}"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9000"),
        ("0.0.0.0", "http://127.0.0.1:9000"),
        ("::", "http://[::1]:9000"),
        ("model.lan", "http://model.lan:9000"),
    ],
)
def test_the_url_can_be_opened_here_when_the_server_listens_on_all_addresses(host: str, url: str) -> None:
    config = RuntimeConfig(name="digits", artifact=ArtifactConfig(uri="file:///model.pt"))
    assert Launch(config, {}, host, 9000, 9001).url == url


def test_what_only_a_cluster_has_is_left_out_of_a_local_configuration() -> None:
    spec = {"artifact": {"uri": "s3://models/digits.pt"}, "traffic": {"auth": {"apiKeysSecretRef": {"name": "keys"}}}}
    config = local_config(render_runtime_config("digits", ModelDeploymentSpec.model_validate(spec)), None, None)
    assert json.loads(config.to_json()).keys() & {"auth", "grpcPort"} == set()
    assert config.drain_delay_seconds == 0
    assert config.artifact.uri == "s3://models/digits.pt"


def test_targets_and_batches_are_those_of_the_manifest_when_it_is_served_locally() -> None:
    spec = {
        "artifact": {"uri": "s3://models/digits.pt", "digest": f"sha256:{'0' * 64}"},
        "sla": {"p99Milliseconds": 100},
        "batching": {"mode": "Static", "maxBatchSize": 4},
        "exposure": {"service": {"grpcPort": 81}},
    }
    rendered = render_runtime_config("digits", ModelDeploymentSpec.model_validate(spec))
    config = local_config(rendered, "file:///model.pt", 9123)
    assert config.sla.p99_milliseconds == 100
    assert config.batching.max_batch_size == 4
    assert (config.artifact.uri, config.artifact.digest) == ("file:///model.pt", None)
    assert (rendered.grpc_port, config.grpc_port) == (9000, 9123)


def test_a_file_with_samples_takes_the_place_of_the_config_map_and_of_the_manifests_own(tmp_path: Path) -> None:
    inline = {"samples": [{"inputs": [{"name": "x", "shape": [-1, 4]}]}]}
    for warmup in (inline, {"configMapRef": {"name": "digits-warmup"}}):
        spec = {"artifact": {"uri": "s3://models/digits.pt"}, "runtime": {"warmup": warmup}}
        rendered = render_runtime_config("digits", ModelDeploymentSpec.model_validate(spec))
        config = local_config(rendered, None, None, tmp_path / "samples.json")
        assert (config.warmup_samples, config.warmup_samples_path) == ([], str(tmp_path / "samples.json"))


def test_a_port_is_refused_by_its_flag_when_another_flag_or_process_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        found = find_port_conflict("127.0.0.1", {"--port": taken})
        assert found == f"--port: 127.0.0.1:{taken} is taken by another process. Choose another port."
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    found = find_port_conflict("127.0.0.1", {"--port": free, "--grpc-port": free})
    assert found == f"--grpc-port: {free} is the port of --port as well. Choose another with --grpc-port."
    assert find_port_conflict("127.0.0.1", {"--port": free}) is None


def test_the_runtimes_last_word_is_one_line_when_it_left_one(tmp_path: Path) -> None:
    message = TerminationMessage(
        stage=Stage.FETCH, reason=FailureReason.ARTIFACT_NOT_FOUND, message="s3://models/digits.pt: no such key."
    )
    path = tmp_path / "message"
    path.write_bytes(message.encode())
    assert describe_end(1, path, killed=False) == "ArtifactNotFound in stage Fetch: s3://models/digits.pt: no such key."


@pytest.mark.parametrize(
    ("code", "killed", "words"),
    [(3, False, "exit code 3"), (-9, False, "SIGKILL"), (-9, True, "stopped at once")],
)
def test_the_end_is_described_when_the_runtime_left_no_word(
    tmp_path: Path, code: int, killed: bool, words: str
) -> None:
    assert words in describe_end(code, tmp_path / "absent", killed)


def test_absent_packages_are_found_when_looked_for() -> None:
    assert missing_packages(("json", "slipway_no_such_package")) == ["slipway_no_such_package"]
