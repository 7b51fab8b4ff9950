"""Alerts and dashboards with the real Prometheus, of a real operator and a real runtime."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.cluster.errors import RequirementError
from tests.fixtures.objects import Objects
from tests.fixtures.operator import Models, OperatorProcess
from tests.fixtures.waiting import wait_until
from tests.monitoring import programs, queries
from tests.monitoring.server import Prometheus, Target
from tests.runtime.server import RuntimeServer

# Two servers are started for each test, one of them with torch.
pytestmark = [pytest.mark.api, pytest.mark.timeout(600)]

TRACE_ID: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
RULE_TESTS: Final = Path(queries.__file__).parent / "rules_test.yaml"

EMPTY_WHEN_ALL_IS_WELL: Final = {
    "models: GPU A": "no GPU",
    "models: GPU memory A": "no GPU",
    "models: Memory of the limit A": "no container",
    "models: Held back by the CPU limit A": "no container",
    "models: Busy workers A": "the model runs in the gateway's process",
    "models: Worker restarts A": "no workers",
    "models: Ready A": "no kubelet, so no pod answers",
    "operator: Ready A": "the same",
    "operator: Sweeps A": "nothing was lost",
}


@pytest.fixture(scope="module")
def tools() -> programs.Programs:
    try:
        return programs.ensure()
    except RequirementError as error:
        pytest.skip(str(error))


def test_promtool_finds_nothing_wrong_with_the_rules_and_each_alert_fires_when_it_should(
    tools: programs.Programs,
) -> None:
    for command in (["check", "rules", str(queries.RULES)], ["test", "rules", str(RULE_TESTS)]):
        answer = subprocess.run([str(tools.promtool), *command], capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[RuntimeServer]:
    """Serves y = x * weight + bias with a target that it keeps."""
    archive = tmp_path / "linear.pt"
    make = "import sys; from tests.runtime.archives import save_linear; save_linear(sys.argv[1])"
    subprocess.run([sys.executable, "-c", make, str(archive)], check=True)
    config = tmp_path / "config.json"
    config.write_text(
        f'{{"name": "linear", "artifact": {{"uri": "file://{archive}"}}, "sla": {{"p95Milliseconds": 5000}}}}'
    )
    server = RuntimeServer(tmp_path / "runtime", "--config", str(config))
    try:
        yield server.wait_until_ready()
    finally:
        server.kill()


@pytest.fixture
def prometheus(
    tools: programs.Programs,
    operator: OperatorProcess,
    runtime: RuntimeServer,
    objects: Objects,
    tmp_path: Path,
) -> Iterator[Prometheus]:
    """Scrapes both, with labels as the chart's ServiceMonitor and PodMonitor set them."""
    found = Prometheus(
        tmp_path,
        [
            Target(
                f"127.0.0.1:{operator.port}", {"namespace": "slipway-system", "pod": "operator-0", "job": "operator"}
            ),
            Target(
                runtime.admin_uri.removeprefix("http://"),
                {"namespace": objects.namespace, "modeldeployment": "linear", "pod": "linear-0", "job": "models"},
            ),
        ],
    )
    try:
        yield found.wait_until_ready()
    finally:
        found.stop()


@pytest.mark.feature("operator-metrics")
def test_every_query_is_answered_with_data_by_a_live_operator_and_runtime(
    models: Models, operator: OperatorProcess, runtime: RuntimeServer, prometheus: Prometheus
) -> None:
    models.create("linear", replicas=2)
    models.wait_condition("Accepted", "True", "Valid", "linear")
    _use(runtime, seconds=8)
    asked = [*queries.rule_queries(), *queries.dashboard_queries(), *queries.variable_queries()]
    alerts = {rule["alert"] for rule in queries.rules() if "alert" in rule}
    answers = {query.where: prometheus.samples(query.expr) for query in asked}
    silent = {where for where, samples in answers.items() if not samples and where not in alerts}
    assert silent - EMPTY_WHEN_ALL_IS_WELL.keys() == set()
    groups = prometheus.get("rules")["groups"]
    assert len(groups) == 3
    for group in groups:
        for rule in group["rules"]:
            assert rule["health"] == "ok", f"{rule['name']}: {rule.get('lastError')}"
            assert rule.get("state", "inactive") != "firing", rule["name"]
    told = prometheus.samples('slipway_operator_modeldeployment_replicas_wanted{modeldeployment="linear"}')
    assert [(item["metric"]["namespace"], item["value"][1]) for item in told] == [(models.objects.namespace, "2")]


@pytest.mark.feature("traces")
def test_a_bucket_leads_to_the_trace_of_a_request_in_it(
    tools: programs.Programs, runtime: RuntimeServer, tmp_path: Path
) -> None:
    headers = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
    httpx.post(f"{runtime.uri}/predict", json={"inputs": {"x": [[1, 2, 3, 4]]}}, headers=headers).raise_for_status()
    prometheus = Prometheus(tmp_path, [Target(runtime.admin_uri.removeprefix("http://"), {"job": "models"})])
    try:
        prometheus.wait_until_ready()
        now = time.time()
        asked = {"query": "slipway_runtime_request_duration_seconds_bucket", "start": now - 600, "end": now + 600}
        found: list[dict[str, Any]] = []
        deadline = time.monotonic() + 30
        while not found and time.monotonic() < deadline:
            found = prometheus.get("query_exemplars", **{name: str(value) for name, value in asked.items()})
        ((exemplar,),) = [series["exemplars"] for series in found]
        assert exemplar["labels"] == {"trace_id": TRACE_ID}
        (answered,) = prometheus.samples('slipway_runtime_requests_total{protocol="predict"}')
        assert answered["value"][1] == "1"
    finally:
        prometheus.stop()


def test_what_changes_in_the_cluster_is_in_the_next_scrape(
    models: Models, operator: OperatorProcess, prometheus: Prometheus
) -> None:
    models.create("a")
    models.create("b", artifact={"uri": "file:///etc/passwd"})
    models.wait_condition("Accepted", "False", "SchemeNotAllowed", "b")
    reason = 'slipway_operator_modeldeployment_not_ready_reason{modeldeployment="b", reason="SchemeNotAllowed"}'
    _wait(prometheus, reason, 1)
    _wait(prometheus, 'count(slipway_operator_modeldeployment_condition{condition="Accepted"})', 2)
    _wait(prometheus, 'sum(slipway_operator_modeldeployments{condition="Accepted", status="False"})', 1)
    models.objects.delete("modeldeployment", "b")
    _wait(prometheus, 'count(slipway_operator_modeldeployment_condition{condition="Accepted"})', 1)
    assert not prometheus.samples(reason)


def _wait(prometheus: Prometheus, expr: str, value: float) -> None:
    def found() -> list[float]:
        return [float(sample["value"][1]) for sample in prometheus.samples(expr)]

    wait_until(lambda: found() == [value], lambda: f"{expr}: expected {value}, found {found()}")


def _use(runtime: RuntimeServer, *, seconds: float) -> None:
    """Predictions, good and bad, while Prometheus looks at least twice."""
    good = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
    url = f"{runtime.uri}/v2/models/linear/infer"
    until = time.monotonic() + seconds
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < until:
            answer = client.post(url, json=good)
            assert answer.status_code == 200, answer.text
            assert client.post(url, json={"inputs": []}).status_code == 400
            time.sleep(0.1)
