"""Who may ask, and how: keys, encryption, gRPC and the settings of batches, all on one model under Pod Security
"restricted"."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.cluster import pki
from tests.cluster.lifecycle import Cluster
from tests.e2e.conftest import Digits, make_deploy
from tests.e2e.models import Model
from tests.fixtures.waiting import wait_until
from tests.stack.store import Store

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NAMESPACE = "slipway-e2e-traffic"
GRPC_PORT = 9000
KEYS = "api-keys"
CERTIFICATE = "certificate"
FIRST_KEY, SECOND_KEY = "first-key-of-the-test", "second-key-of-the-test"
PROPAGATION_SECONDS = 90
"""The kubelet brings a changed Secret into the pod when it next looks, which is once a minute."""


@dataclass(frozen=True)
class Guarded:
    """A model that answers only to who has the key, over TLS."""

    model: Model
    authority: Path
    name: str
    """That the certificate is for."""

    @property
    def address(self) -> str:
        return self.model.service_address()

    def ask(self, key: str | None, path: str = "") -> httpx.Response:
        """Over HTTPS through the Service; the certificate is checked against the name."""
        headers = {"Host": self.name} | ({"Authorization": f"Bearer {key}"} if key else {})
        url = f"https://{self.address}/v2/models/{self.model.name}{path}"
        context = ssl.create_default_context(cafile=str(self.authority))
        extensions = {"sni_hostname": self.name}
        with httpx.Client(verify=context, trust_env=False, timeout=30) as client:
            if path:
                return client.get(url, headers=headers, extensions=extensions)
            pixels = [sample["image"] for sample in self.model.samples]
            image = {"name": "image", "datatype": "FP32", "shape": [len(pixels), 1, 8, 8], "data": pixels}
            return client.post(f"{url}/infer", json={"inputs": [image]}, headers=headers, extensions=extensions)

    def infer(self, key: str | None) -> list[int]:
        """The labels over gRPC."""
        pixels = np.asarray([sample["image"] for sample in self.model.samples], np.float32)
        image = triton.InferInput("image", list(pixels.shape), "FP32")
        image.set_data_from_numpy(pixels)
        with triton.InferenceServerClient(
            f"{self.address.partition(':')[0]}:{GRPC_PORT}",
            ssl=True,
            root_certificates=str(self.authority),
            channel_args=[("grpc.ssl_target_name_override", self.name), ("grpc.enable_http_proxy", 0)],
        ) as client:
            answer = client.infer(
                self.model.name,
                [image],
                headers={"authorization": f"Bearer {key}"} if key else None,
                client_timeout=30,
            )
        return [int(label) for label in answer.as_numpy("label")]

    @property
    def labels(self) -> list[int]:
        return [sample["label"] for sample in self.model.samples]


@pytest.fixture(scope="module")
def guarded(
    installed: Cluster, store: Store, digits: Digits, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("certificates")
    authority = pki.create_authority(folder)
    name = f"digits.{NAMESPACE}.svc"
    pair = authority.issue_server("tls", "digits", [name])
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    installed.kubectl("apply", "-f", "-", stdin=json.dumps(namespace))
    pem = {"tls.crt": pair.certificate.read_bytes(), "tls.key": pair.key.read_bytes()}
    apply_secret(installed, KEYS, {"of-the-test": FIRST_KEY.encode()})
    apply_secret(installed, CERTIFICATE, pem, "kubernetes.io/tls")
    model = make_deploy(installed, store, digits, NAMESPACE)(
        traffic={"auth": {"apiKeysSecretRef": {"name": KEYS}}, "tls": {"secretName": CERTIFICATE}},
        exposure={"service": {"port": 443, "grpcPort": GRPC_PORT}},
        batching={"mode": "Static", "maxBatchSize": 4, "maxQueueDelayMilliseconds": 7},
        sla={"p99Milliseconds": 5000},
        runtime={
            "execution": {"isolation": "Worker", "workers": 1, "threads": 1},
            "tuning": {"mode": "Disabled"},
        },
        networkPolicy={"clients": [{"namespaceSelector": {"matchLabels": {"team": "search"}}}]},
    )
    model.wait_ready()
    yield Guarded(model, authority.path, name)
    installed.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def apply_secret(cluster: Cluster, name: str, data: dict[str, bytes], kind: str = "Opaque") -> None:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    metadata = {"name": name, "namespace": NAMESPACE}
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded, "type": kind}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))


@pytest.mark.feature("endpoint-auth")
def test_answers_only_to_a_key_over_https_through_the_service(guarded: Guarded) -> None:
    answered = guarded.ask(FIRST_KEY)
    assert answered.status_code == 200, answered.text
    outputs = {output["name"]: output["data"] for output in answered.json()["outputs"]}
    assert outputs["label"] == guarded.labels
    for key in (None, SECOND_KEY):
        refused = guarded.ask(key)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
        assert refused.headers["www-authenticate"].startswith("Bearer")


def test_speaks_no_plain_http_where_tls_is_asked_for(guarded: Guarded) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{guarded.address}/v2", timeout=10, trust_env=False)


@pytest.mark.feature("oip-grpc")
def test_answers_grpc_through_the_service_with_the_same_key_and_certificate(guarded: Guarded) -> None:
    assert guarded.infer(FIRST_KEY) == guarded.labels
    with pytest.raises(InferenceServerException) as refused:
        guarded.infer(None)
    assert "UNAUTHENTICATED" in str(refused.value.status())


@pytest.mark.feature("batching-field")
def test_running_pod_tells_the_batches_and_the_processes_that_the_spec_asks_for(guarded: Guarded) -> None:
    configuration = guarded.ask(FIRST_KEY, "/config").json()
    assert configuration["max_batch_size"] == 4
    assert configuration["dynamic_batching"]["max_queue_delay_microseconds"] == 7000
    properties = {key: value["string_value"] for key, value in configuration["parameters"].items()}
    assert properties["engine"] == "Worker"
    assert (properties["engine_workers"], properties["engine_threads"]) == ("1", "1")


def test_network_policy_names_the_clients_and_the_ports_of_the_pods(guarded: Guarded) -> None:
    """The node's network enforces no policies: what is shown here is that the object selects what it should."""
    model = guarded.model
    policy = json.loads(model.kubectl("get", "networkpolicy", model.name, "-o", "json"))["spec"]
    selector = ",".join(f"{label}={value}" for label, value in policy["podSelector"]["matchLabels"].items())
    selected = json.loads(model.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
    assert {pod["metadata"]["uid"] for pod in selected} == set(model.pods())
    clients = [{"namespaceSelector": {"matchLabels": {"team": "search"}}}]
    (rule,) = [rule for rule in policy["ingress"] if rule["from"] == clients]
    ports = {port["name"] for port in selected[0]["spec"]["containers"][0]["ports"]}
    assert {port["port"] for port in rule["ports"]} < ports


@pytest.mark.feature("auth")
def test_rotated_key_counts_without_a_restart(guarded: Guarded) -> None:
    before = restarts(guarded.model)
    for new, former in ((SECOND_KEY, FIRST_KEY), (FIRST_KEY, SECOND_KEY)):
        apply_secret(guarded.model.cluster, KEYS, {"of-the-test": new.encode()})
        # A pod that was touched is looked at by the kubelet at once.
        selector = f"slipway.dev/modeldeployment={guarded.model.name}"
        guarded.model.kubectl("annotate", "pods", "-l", selector, f"looked-at={new}", "--overwrite")
        wait_until(
            lambda key=new: guarded.ask(key).status_code == 200, "the new key counts", seconds=PROPAGATION_SECONDS
        )  # type: ignore[misc]
        assert guarded.ask(former).status_code == 401
        assert guarded.infer(new) == guarded.labels
    assert restarts(guarded.model) == before


def restarts(model: Model) -> dict[str, int]:
    """Restart count by pod uid."""
    return {uid: pod["status"]["containerStatuses"][0]["restartCount"] for uid, pod in model.pods().items()}
