"""How the object reads to tools that apply it from a repository and wait for it: kstatus, helm, kubectl."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.api.manifests import EVERY_FIELD, Manifest, manifest
from tests.cluster import components
from tests.cluster.errors import ClusterError
from tests.cluster.lifecycle import Cluster
from tests.fixtures.kstatus import Phase, phase
from tests.fixtures.objects import Objects
from tests.fixtures.operator import Models, OperatorProcess, waiting

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("crd")]

CHART: Final = {"apiVersion": "v2", "name": "models", "version": "0.1.0"}
HOLD: Final = "example.com/hold"
NO_SECRET: Final = waiting("CreateContainerConfigError", 'secret "s3-keys" not found')


def read(objects: Objects, name: str = "digits") -> Manifest:
    found = objects.get("modeldeployment", name)
    assert found is not None
    return found


def wait_phase(objects: Objects, wanted: Phase) -> Manifest:
    return objects.wait_for(
        "modeldeployment", "digits", lambda found: phase(found) is wanted, what=f"kstatus says {wanted}"
    )


def test_kstatus_follows_an_object_from_its_first_moment_to_its_last(
    models: Models, objects: Objects, stopped_operator: OperatorProcess
) -> None:
    models.create()
    assert phase(read(objects)) is Phase.IN_PROGRESS, "nobody has looked at it yet"
    stopped_operator.start()
    models.wait_condition("Accepted", "True", "Valid")
    assert phase(read(objects)) is Phase.IN_PROGRESS, "its pods start"
    models.make_ready(models.wait_pods(1))
    wait_phase(objects, Phase.CURRENT)

    changed = models.change(traffic={"requestTimeoutSeconds": 20})
    assert phase(changed) is Phase.IN_PROGRESS, "a change counts from the moment it is made"
    new = models.wait_pods(1, template=models.wait_template(changed))
    models.play(new[0], NO_SECRET)
    failed = wait_phase(objects, Phase.FAILED)
    stalled = next(item for item in failed["status"]["conditions"] if item["type"] == "Stalled")
    assert (stalled["reason"], 's3-keys" not found' in stalled["message"]) == ("ContainerConfigError", True)
    models.make_ready(new)
    wait_phase(objects, Phase.CURRENT)

    models.change(artifact={"uri": "file:///models/digits.pt"})
    wait_phase(objects, Phase.FAILED)
    models.change(artifact={"uri": "s3://models/digits.pt"})
    wait_phase(objects, Phase.CURRENT)

    objects.patch("modeldeployment", "digits", {"metadata": {"finalizers": [HOLD]}})
    objects.delete("modeldeployment", "digits")
    assert phase(read(objects)) is Phase.TERMINATING
    objects.patch("modeldeployment", "digits", {"metadata": {"finalizers": []}})
    objects.wait_gone("modeldeployment", "digits")


@pytest.fixture
def helm(cluster: Cluster, namespace: str, tmp_path: Path) -> Callable[..., str]:
    """`helm upgrade --install --wait` of a chart with one ModelDeployment of this spec; helm's own kstatus judges."""

    def release(seconds: int, **spec: Any) -> str:
        (tmp_path / "templates").mkdir(exist_ok=True)
        (tmp_path / "Chart.yaml").write_text(json.dumps(CHART))
        (tmp_path / "templates" / "model.yaml").write_text(json.dumps(manifest(spec)))
        command = [
            str(components.ensure("helm")), "--kubeconfig", str(cluster.kubeconfig), "--namespace", namespace,
            "upgrade", "--install", "models", str(tmp_path), "--wait", "--timeout", f"{seconds}s",
        ]  # fmt: skip
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        return "" if ended.returncode == 0 else ended.stderr

    return release


def test_helm_waits_until_it_is_ready_and_gives_up_when_it_is_stalled(
    helm: Callable[..., str], models: Models, operator: OperatorProcess
) -> None:
    said = helm(5)
    assert "InProgress" in said
    models.make_ready(models.wait_pods(1))
    models.wait_condition("Ready", "True", "PredictionsAnswered")
    assert helm(20) == ""
    said = helm(60, artifact={"uri": "file:///models/digits.pt"})
    assert "Failed" in said


@pytest.mark.parametrize("flags", [(), ("--server-side", "--field-manager=git")], ids=["by-client", "by-server"])
def test_kubectl_diff_is_empty_after_an_apply(
    flags: tuple[str, ...], models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    text = json.dumps(EVERY_FIELD | {"metadata": {"name": "digits", "namespace": objects.namespace}})
    objects.kubectl("apply", "--filename=-", *flags, stdin=text)
    models.wait("a verdict", lambda status: bool(status["conditions"]))
    assert objects.kubectl("diff", "--filename=-", *flags, stdin=text) == ""
    changed = json.dumps(manifest({"replicas": 4}))
    with pytest.raises(ClusterError):
        objects.kubectl("diff", "--filename=-", "--server-side", "--force-conflicts", stdin=changed)


def test_kubectl_wait_returns_when_the_model_is_ready(
    models: Models, objects: Objects, operator: OperatorProcess
) -> None:
    models.create()
    with pytest.raises(ClusterError, match="timed out waiting"):
        objects.kubectl("wait", "mdep/digits", "--for=condition=Ready", "--timeout=1s")
    models.make_ready(models.wait_pods(1))
    said = objects.kubectl("wait", "mdep/digits", "--for=condition=Ready", "--timeout=30s")
    assert said == "modeldeployment.slipway.dev/digits condition met\n"


def test_each_of_two_managers_keeps_its_fields_and_is_told_about_the_others(objects: Objects) -> None:
    objects.apply(manifest({"replicas": 2, "traffic": {"requestTimeoutSeconds": 20}}), "--field-manager=team")
    policy = {key: value for key, value in manifest().items() if key != "spec"}
    objects.apply(policy | {"spec": {"podTemplate": {"labels": {"cost": "42"}}}}, "--field-manager=platform")
    with pytest.raises(ClusterError) as caught:
        objects.apply(policy | {"spec": {"replicas": 3}}, "--field-manager=platform")
    assert 'conflict with "team"' in str(caught.value)
    assert ".spec.replicas" in str(caught.value)
    kept = objects.apply(manifest({"replicas": 2}), "--field-manager=team")["spec"]
    assert kept["podTemplate"] == {"labels": {"cost": "42"}}, "what one manager does not name is the other's"
    assert "requestTimeoutSeconds" not in kept.get("traffic", {}), "what a manager no longer names goes"


@pytest.mark.parametrize("server_side", [True, False], ids=["by-server", "by-client"])
def test_a_manifest_without_replicas_takes_nothing_from_a_scaler(objects: Objects, server_side: bool) -> None:
    text = json.dumps(manifest({"autoscaling": {"strategy": "External", "maxReplicas": 9}}))
    flags = ("--server-side", "--field-manager=git") if server_side else ()
    objects.kubectl("apply", "--filename=-", *flags, stdin=text)
    objects.kubectl("scale", "mdep/digits", "--replicas=7")
    objects.kubectl("apply", "--filename=-", *flags, stdin=text)
    assert read(objects)["spec"]["replicas"] == 7


def test_handing_the_number_to_a_scaler_keeps_it_when_the_scaler_has_written_first(objects: Objects) -> None:
    """The manifest said 3 until now; it is taken out once the scaler has set a number of its own."""
    objects.apply(manifest({"replicas": 3}), "--field-manager=git")
    objects.kubectl("scale", "mdep/digits", "--replicas=5")
    objects.apply(manifest(), "--field-manager=git")
    assert read(objects)["spec"]["replicas"] == 5
