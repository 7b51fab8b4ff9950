"""`slipway run` serves the example as a user tries it: trained here, served from its manifest, asked real digits."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from tritonclient.grpc import InferenceServerClient

from tests.cluster.ports import free_port

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(600)]

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
START_SECONDS: Final = 120.0
STOP_SECONDS: Final = 30.0


class LocalRun:
    """A `slipway run` in the foreground of its own process group, as a terminal starts it."""

    def __init__(self, folder: Path, *flags: str, environment: dict[str, str] | None = None) -> None:
        self.port, self.admin_port = free_port(), free_port()
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "SLIPWAY_"))}
        folders = {"TMPDIR": str(self.temporary), "XDG_CACHE_HOME": str(folder / "cache")}
        ports = ["--port", str(self.port), "--admin-port", str(self.admin_port)]
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "slipway", "run", *ports, *flags],
                stdout=stdout,
                stderr=stderr,
                env={**inherited, **folders, **(environment or {})},
                process_group=0,
            )

    @property
    def said(self) -> str:
        """What the command itself told its user."""
        return self._stderr.read_text()

    @property
    def output(self) -> str:
        return self._stdout.read_text() + self.said

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_until_ready(self) -> LocalRun:
        deadline = time.monotonic() + START_SECONDS
        while "ready. Try it:" not in self.said:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.1)
        return self

    def wait(self) -> int:
        return self.process.wait(timeout=START_SECONDS)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


StartRun = Callable[..., LocalRun]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that examples/digits/train.py wrote."""
    folder = tmp_path_factory.mktemp("digits")
    command = [sys.executable, str(EXAMPLES / "digits" / "train.py"), "--output", str(folder / "model.pt")]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert "Held-out accuracy: 0.9" in process.stdout
    return folder


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartRun]:
    started: list[LocalRun] = []

    def start_run(*flags: str, environment: dict[str, str] | None = None) -> LocalRun:
        folder = tmp_path / f"run-{len(started)}"
        folder.mkdir()
        started.append(LocalRun(folder, *flags, environment=environment))
        return started[-1]

    yield start_run
    for run in started:
        run.stop()


@pytest.fixture(scope="module")
def digits(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRun]:
    """The example's own manifest, served from the trained file."""
    uri = (trained / "model.pt").as_uri()
    run = LocalRun(tmp_path_factory.mktemp("run"), "-f", str(EXAMPLES / "digits.yaml"), "--uri", uri)
    try:
        yield run.wait_until_ready()
        run.process.terminate()
        assert run.process.wait(STOP_SECONDS) == 0, run.output
    finally:
        run.stop()


def infer(run: LocalRun, pixels: Any) -> dict[str, Any]:
    image = {"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": pixels}
    response = httpx.post(f"{run.url}/v2/models/digits/infer", json={"inputs": [image]}, timeout=30)
    response.raise_for_status()
    return {output["name"]: output for output in response.json()["outputs"]}


def test_held_out_digits_are_recognised_when_the_example_is_served_locally(digits: LocalRun, trained: Path) -> None:
    samples = json.loads((trained / "samples.json").read_text())
    right = 0
    for sample in samples:
        outputs = infer(digits, [sample["image"]])
        (label,) = outputs["label"]["data"]
        probabilities = outputs["probabilities"]["data"]
        assert sum(probabilities) == pytest.approx(1, abs=1e-4)
        assert max(range(10), key=probabilities.__getitem__) == label
        right += label == sample["label"]
    assert len(samples) == 20
    assert right >= 19


def test_the_model_describes_itself_when_asked(digits: LocalRun) -> None:
    metadata = httpx.get(f"{digits.url}/v2/models/digits", timeout=30).json()
    assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]
    assert [(output["name"], output["datatype"], output["shape"]) for output in metadata["outputs"]] == [
        ("label", "INT64", [-1]),
        ("probabilities", "FP32", [-1, 10]),
    ]


def test_the_first_lines_hold_working_urls_and_a_working_command_when_it_is_ready(digits: LocalRun) -> None:
    lines = digits.said.splitlines()
    assert lines[0].startswith("slipway run: starting digits from file:///")
    assert httpx.get(f"{digits.url}/docs", timeout=30).status_code == 200
    assert f"Swagger at {digits.url}/docs" in lines[0]
    words = shlex.split(lines[lines.index("slipway run: ready. Try it:") + 1])
    assert words[:2] == ["curl", "-s"]
    headers = {"Content-Type": "application/json"}
    response = httpx.post(words[2], content=words[words.index("-d") + 1], headers=headers, timeout=30)
    assert response.json()["model_name"] == "digits"


def test_the_cause_is_one_readable_line_when_the_artifact_is_absent(start: StartRun, tmp_path: Path) -> None:
    run = start("-f", str(EXAMPLES / "minimal.yaml"), "--uri", str(tmp_path / "nothing.pt"))
    assert run.wait() == 1
    assert run.said.splitlines()[-1].startswith("slipway run: ArtifactNotFound in stage Fetch: ")
    assert "Traceback" not in run.output
    assert not list(run.temporary.glob("slipway-run-*"))


@pytest.mark.feature("local-run")
def test_a_manifest_is_served_as_it_stands_until_ctrl_c_when_it_names_a_file(
    start: StartRun, trained: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "model.yaml"
    manifest.write_text(
        "apiVersion: slipway.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {name: threads}\n"
        f"spec:\n  artifact: {{uri: '{(trained / 'model.pt').as_uri()}'}}\n"
        '  runtime: {env: [{name: OMP_NUM_THREADS, value: "1"}]}\n'
    )
    run = start("-f", str(manifest), "--set-name", "renamed").wait_until_ready()
    assert "with 1 threads" in run.output
    assert httpx.get(f"{run.url}/v2/models/renamed/ready", timeout=30).status_code == 200

    os.killpg(run.process.pid, signal.SIGINT)  # what a terminal does on Ctrl-C
    assert run.process.wait(STOP_SECONDS) == 0
    assert "requests in flight are answered first" in run.said
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{run.url}/v2", timeout=5)
    assert not list(run.temporary.glob("slipway-run-*"))


@pytest.mark.feature("batching-field", "sla-latency")
def test_the_runtime_keeps_what_the_manifest_says_of_targets_batches_and_execution(
    start: StartRun, trained: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "model.yaml"
    manifest.write_text(
        "apiVersion: slipway.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {name: digits}\n"
        f"spec:\n  artifact: {{uri: '{(trained / 'model.pt').as_uri()}'}}\n"
        "  sla: {p50Milliseconds: 250, p99Milliseconds: 1000}\n"
        "  batching: {maxBatchSize: 4, allowedBatchSizes: [4, 1]}\n"
        "  runtime: {execution: {isolation: InProcess, threads: 1}, tuning: {mode: Disabled}}\n"
        "  exposure: {service: {grpcPort: 81}}\n"
        "  traffic: {auth: {apiKeysSecretRef: {name: keys}}}\n"
    )
    grpc_port = free_port()
    run = start("-f", str(manifest), "--grpc-port", str(grpc_port)).wait_until_ready()
    assert "the Secret keys is not read here" in run.said
    properties = httpx.get(f"{run.url}/v2/models/digits", timeout=30).json()["properties"]
    assert (properties["max_batch_size"], properties["engine"], properties["engine_threads"]) == ("4", "InProcess", "1")
    infer(run, [0.0] * 64)
    metrics = httpx.get(f"http://127.0.0.1:{run.admin_port}/metrics", timeout=30).text
    assert 'slipway_runtime_sla_target_seconds{objective="p50"} 0.25' in metrics
    assert 'slipway_runtime_sla_target_seconds{objective="p99"} 1.0' in metrics
    counted = re.findall(r'slipway_runtime_sla_requests_total\{met="\w+",objective="p99"\} (\S+)', metrics)
    assert sum(map(float, counted)) == 1
    with InferenceServerClient(f"127.0.0.1:{grpc_port}") as client:
        assert client.is_model_ready("digits")


def test_samples_of_a_config_map_are_read_from_a_file_when_it_is_given(
    start: StartRun, trained: Path, tmp_path: Path
) -> None:
    manifest, samples = tmp_path / "model.yaml", tmp_path / "samples.json"
    manifest.write_text(
        "apiVersion: slipway.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {name: digits}\n"
        f"spec:\n  artifact: {{uri: '{(trained / 'model.pt').as_uri()}'}}\n"
        "  runtime: {tuning: {mode: Disabled}, warmup: {configMapRef: {name: digits-warmup}}}\n"
    )
    refused = start("-f", str(manifest))
    assert refused.wait() == 1
    assert "--warmup-samples FILE" in refused.said
    samples.write_text('[{"inputs": [{"name": "image", "shape": [-1, 3, 8, 8]}]}]')
    unfit = start("-f", str(manifest), "--warmup-samples", str(samples))
    assert unfit.wait() == 1
    assert "Warm-up sample 1 has" in unfit.said
    samples.write_text('[{"inputs": [{"name": "image", "shape": [-1, 1, 8, 8]}]}]')
    run = start("-f", str(manifest), "--warmup-samples", str(samples)).wait_until_ready()
    assert infer(run, [0.0] * 64)


def test_the_flag_is_named_when_its_port_is_taken(digits: LocalRun, start: StartRun, trained: Path) -> None:
    uri = str(trained / "model.pt")
    run = start("-f", str(EXAMPLES / "digits.yaml"), "--uri", uri, "--admin-port", str(digits.admin_port))
    assert run.wait() == 1
    assert f"--admin-port: 127.0.0.1:{digits.admin_port} is taken by another process" in run.said
    assert "ready. Try it" not in run.said
