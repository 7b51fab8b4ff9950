"""What a local run tells its user."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from slipway.localrun import Launch, describe_end, example_command, missing_packages
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
