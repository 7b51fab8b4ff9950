"""A real Gateway: Traefik on the node serves the HTTPRoutes that the operator writes, and pods answer through it."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from tests.cluster import pki
from tests.cluster.lifecycle import Cluster
from tests.e2e.conftest import Digits, make_deploy
from tests.e2e.faults import upload_handler
from tests.e2e.models import QUICK_START, Model
from tests.fixtures.gateway import API_VERSION, CONTROLLER, class_name_of, gateway
from tests.fixtures.objects import Manifest, Objects
from tests.stack.store import Store

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

MODELS: Final = "slipway-e2e-gateway"
INFRA: Final = "slipway-e2e-infra"
CERTIFICATES: Final = "slipway-e2e-certificates"
ADMITTED: Final = {"gateway-access": "models"}
"""The label of namespaces whose routes the Gateway takes."""
HOST: Final = "digits.models.example.com"
SECURE_HOST: Final = "digits.secure.example.com"
PARENT: Final = {"name": "edge", "namespace": INFRA}
REQUEST_SECONDS: Final = 4
NOTICED_SECONDS: Final = 40
"""Gateways are looked at every 10 s."""


@dataclass(frozen=True)
class Site:
    """A platform team's Gateway in a namespace of its own, and two models behind it."""

    address: str
    digits: Model
    """By host."""
    slow: Model
    """By path, with pods that speak HTTPS alone."""
    authority: Path
    """Of all certificates."""
    objects: Objects
    """Of the models' namespace."""
    infra: Objects

    def open_gateway(self) -> None:
        """As it is before every test. Its certificate lies in a third namespace, which permits that or not."""
        admitted = {"namespaces": {"from": "Selector", "selector": {"matchLabels": ADMITTED}}}
        secure = {
            "name": "secure",
            "protocol": "HTTPS",
            "port": 443,
            "hostname": "*.secure.example.com",
            "tls": {"certificateRefs": [{"name": "secure", "namespace": CERTIFICATES}]},
            "allowedRoutes": admitted,
        }
        gateway(self.infra, "edge", secure, allowedRoutes=admitted)

    def labels(self, headers: dict[str, str]) -> list[int]:
        return self.digits.predict(f"http://{self.address}", headers=headers)

    def sum(self, value: float = 1.0) -> httpx.Response:
        """Of two numbers, by the model behind the path."""
        inputs = [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [value, 2.0]}]
        url = f"http://{self.address}/models/slow/v2/models/slow/infer"
        return httpx.post(url, json={"inputs": inputs}, timeout=30, trust_env=False)


@pytest.fixture(scope="module")
def site(installed: Cluster, store: Store, digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if installed.state is None:
        pytest.skip("which Gateway controller the cluster of KUBECONFIG has is not known; unset it")
    folder = tmp_path_factory.mktemp("gateway")
    authority = pki.create_authority(folder)
    for name, labels in ((MODELS, ADMITTED), (INFRA, {}), (CERTIFICATES, {})):
        metadata = {"name": name, "labels": labels}
        Objects(installed, name).apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    objects, infra, certificates = (Objects(installed, name) for name in (MODELS, INFRA, CERTIFICATES))
    keep(objects, authority.issue_server("slow", "slow", [f"slow.{MODELS}.svc"]), "slow")
    keep(certificates, authority.issue_server("secure", "secure", ["*.secure.example.com"]), "secure")
    deploy = make_deploy(installed, store, digits, MODELS)
    site = Site(
        address=str(installed.ingress_address),
        digits=deploy(runtime=QUICK_START, exposure=exposed(hostnames=[HOST])),
        slow=deploy(
            "slow",
            artifact=upload_handler(store, folder, "dawdles-when-asked"),
            runtime=QUICK_START,
            batching={"mode": "Disabled"},
            exposure=exposed(path="/models/slow") | {"service": {"port": 443}},
            traffic={"requestTimeoutSeconds": REQUEST_SECONDS, "tls": {"secretName": "slow"}},
        ),
        authority=authority.path,
        objects=objects,
        infra=infra,
    )
    site.open_gateway()
    site.digits.wait_ready()
    site.slow.wait_ready()
    yield site
    installed.kubectl("delete", "gatewayclass", class_name_of(infra))
    for name in (MODELS, INFRA, CERTIFICATES):
        installed.kubectl("delete", "namespace", name, "--wait=false")


def keep(objects: Objects, pair: pki.KeyPair, name: str) -> None:
    """The pair as a Secret of type kubernetes.io/tls."""
    objects.kubectl("create", "secret", "tls", name, f"--cert={pair.certificate}", f"--key={pair.key}")


def exposed(**fields: Any) -> Manifest:
    return {"gateway": {"parentRefs": [PARENT]} | fields}


def wait_route(
    model: Model, reason: str, words: str = "", *, url: str | None = None, seconds: float = NOTICED_SECONDS
) -> None:
    """Until RouteReady says this of the present generation and `status.url` is this; None: there is none."""
    deadline = time.monotonic() + seconds
    while True:
        found = model.get()
        status = found.get("status", {})
        said = next((item for item in status.get("conditions", []) if item["type"] == "RouteReady"), {})
        if (
            (said.get("reason"), said.get("observedGeneration")) == (reason, found["metadata"]["generation"])
            and words in said["message"]
            and status.get("url") == url
        ):
            assert said["status"] == ("True" if url else "False")
            return
        assert time.monotonic() < deadline, f"expected {reason}, {words!r}, {url}: {json.dumps(status, indent=2)}"
        time.sleep(0.3)


@pytest.mark.feature("gateway")
def test_predictions_come_through_a_gateway_of_another_namespace_by_host(site: Site) -> None:
    wait_route(site.digits, "RouteAccepted", url=f"http://{HOST}/")
    expected = [sample["label"] for sample in site.digits.samples]
    assert site.labels({"Host": HOST}) == expected
    assert site.digits.row()["URL"] == f"http://{HOST}/"
    strange = httpx.get(f"http://{site.address}/v2", headers={"Host": "other.example.com"}, trust_env=False)
    assert strange.status_code == 404

    pixels = np.asarray([sample["image"] for sample in site.digits.samples], np.float32)
    image = triton.InferInput("image", list(pixels.shape), "FP32")
    image.set_data_from_numpy(pixels)
    with triton.InferenceServerClient(site.address) as client:
        answer = client.infer(site.digits.name, [image], headers={"Host": HOST})
        assert client.is_model_ready(site.digits.name, headers={"Host": HOST})
    assert [int(label) for label in answer.as_numpy("label")] == expected


def test_an_accepted_route_that_leads_nowhere_has_no_url_until_it_answers(site: Site) -> None:
    """Traefik accepts it, and does not know for which name it must check the certificate of the pods."""
    wait_route(site.slow, "RouteUnanswered", "not by a pod of this model")
    assert site.slow.conditions()["Ready"]["status"] == "True"
    assert site.sum().status_code >= 400
    authority = {"name": "authority", "namespace": MODELS}
    site.objects.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": authority, "data": {"ca.crt": site.authority.read_text()}}
    )
    site.objects.apply(
        {
            "apiVersion": API_VERSION,
            "kind": "BackendTLSPolicy",
            "metadata": {"name": "slow", "namespace": MODELS},
            "spec": {
                "targetRefs": [{"group": "", "kind": "Service", "name": "slow"}],
                "validation": {
                    "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "authority"}],
                    "hostname": f"slow.{MODELS}.svc",
                },
            },
        }
    )
    # No listener without a host name: the URL is the Gateway's address, with the path.
    wait_route(site.slow, "RouteAccepted", url=f"http://{site.address}/models/slow/")
    assert site.sum().json()["outputs"][0]["data"] == [3.0]
    numbers = triton.InferInput("x", [1, 2], "FP32")
    numbers.set_data_from_numpy(np.asarray([[1.0, 2.0]], np.float32))
    with triton.InferenceServerClient(f"{site.address}/models/slow") as client:
        assert client.infer("slow", [numbers]).as_numpy("y").tolist() == [3.0]


def test_the_request_timeout_is_in_the_route_and_clients_see_the_models_own_504(site: Site) -> None:
    """Traefik does not carry `timeouts` out, and says so in the features of its GatewayClass: what holds is the
    model's. Where a Gateway does, its time is 5 s longer, so that these words come through there as well."""
    (rule,) = json.loads(site.slow.kubectl("get", "httproute", "slow", "-o", "json"))["spec"]["rules"]
    assert rule["timeouts"] == {"request": f"{REQUEST_SECONDS + 5}s"}
    known = json.loads(site.infra.kubectl("get", "gatewayclass", class_name_of(site.infra), "-o", "json"))
    assert known["spec"]["controllerName"] == CONTROLLER
    assert "HTTPRouteRequestTimeout" not in {feature["name"] for feature in known["status"]["supportedFeatures"]}
    # One after the other they would take 3, 6 and 9 s.
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(site.sum, [5000.0] * 3))
    assert max(answer.status_code for answer in answers) == 504, [answer.text for answer in answers]
    for answer in answers:
        assert answer.elapsed.total_seconds() < REQUEST_SECONDS + 2
        if answer.status_code == 504:
            assert answer.elapsed.total_seconds() >= REQUEST_SECONDS
            assert answer.json()["model"] == "slow"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hostnames": ["digits.elsewhere.example.com"], "sectionName": "secure"}, "NoMatchingListenerHostname"),
        ({"sectionName": "no-such-listener"}, "NoMatchingParent"),
        ({"port": 8080}, "NoMatchingParent"),
    ],
    ids=["no matching listener hostname", "wrong section name", "wrong port"],
)
def test_a_route_that_the_gateway_refuses_is_told_in_its_words(site: Site, change: dict[str, Any], words: str) -> None:
    # No pod is needed for it.
    fields = dict(change)
    hostnames = fields.pop("hostnames", [HOST])
    model = Model(site.digits.cluster, MODELS, "refused", {"artifact": site.digits.spec["artifact"], "replicas": 0})
    model.apply(exposure={"gateway": {"parentRefs": [PARENT | fields], "hostnames": hostnames}})
    try:
        wait_route(
            model, "RouteNotAccepted", f"{INFRA}/edge the HTTPRoute is not Accepted: {words} (from {CONTROLLER})"
        )
    finally:
        model.kubectl("delete", "mdep", "refused")


def test_a_namespace_that_the_gateway_does_not_admit_is_told_and_admitted_at_once(
    site: Site, namespace: str, objects: Objects
) -> None:
    model = Model(site.digits.cluster, namespace, "digits", {"artifact": {"uri": "s3://m/d.pt"}, "replicas": 0})
    model.apply(exposure=exposed(hostnames=["other.models.example.com"]))
    wait_route(model, "RouteNotAccepted", "NotAllowedByListeners")
    labels = [f"{name}={value}" for name, value in ADMITTED.items()]
    site.digits.cluster.kubectl("label", "namespace", namespace, *labels)
    # Accepted, and nobody answers: there is no URL.
    wait_route(model, "Verifying", "follows when a pod is ready")


def test_the_url_is_https_once_the_gateway_may_use_the_certificate(site: Site) -> None:
    former = site.digits.spec["exposure"]
    site.digits.apply(exposure=exposed(hostnames=[SECURE_HOST]))
    # The listener has no certificate yet, as its namespace grants none; the other one serves every name.
    wait_route(site.digits, "RouteAccepted", url=f"http://{SECURE_HOST}/")
    with pytest.raises(httpx.TransportError):
        secure_labels(site)
    grant = {
        "apiVersion": API_VERSION,
        "kind": "ReferenceGrant",
        "metadata": {"name": "edge", "namespace": CERTIFICATES},
        "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": INFRA}],
            "to": [{"group": "", "kind": "Secret", "name": "secure"}],
        },
    }
    site.infra.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(grant))
    try:
        wait_route(site.digits, "RouteAccepted", url=f"https://{SECURE_HOST}/")
        assert secure_labels(site) == [sample["label"] for sample in site.digits.samples]
    finally:
        site.infra.cluster.kubectl("-n", CERTIFICATES, "delete", "referencegrant", "edge")
        site.digits.apply(exposure=former)


def secure_labels(site: Site) -> list[int]:
    """Over HTTPS at the Gateway's address; the certificate is checked against the name."""
    context = ssl.create_default_context(cafile=str(site.authority))
    pixels = [sample["image"] for sample in site.digits.samples]
    image = {"name": "image", "datatype": "FP32", "shape": [len(pixels), 1, 8, 8], "data": pixels}
    with httpx.Client(verify=context, trust_env=False, timeout=30) as client:
        answer = client.post(
            f"https://{site.address}/v2/models/{site.digits.name}/infer",
            json={"inputs": [image]},
            headers={"Host": SECURE_HOST},
            extensions={"sni_hostname": SECURE_HOST},
        )
    assert answer.status_code == 200, answer.text
    (labels,) = [output["data"] for output in answer.json()["outputs"] if output["name"] == "label"]
    return [int(label) for label in labels]


def test_the_url_goes_with_the_gateway_and_comes_back_with_it(site: Site) -> None:
    """Traefik leaves its last word, Accepted, on the route of a Gateway that is gone."""
    wait_route(site.digits, "RouteAccepted", url=f"http://{HOST}/")
    site.infra.kubectl("delete", "gateway", "edge")
    wait_route(site.digits, "GatewayNotFound", f"{INFRA}/edge does not exist")
    (parent,) = json.loads(site.digits.kubectl("get", "httproute", "digits", "-o", "json"))["status"]["parents"]
    assert next(item["status"] for item in parent["conditions"] if item["type"] == "Accepted") == "True"
    assert site.digits.answers()
    assert site.digits.conditions()["Ready"]["status"] == "True"
    site.open_gateway()
    wait_route(site.digits, "RouteAccepted", url=f"http://{HOST}/")
    assert site.labels({"Host": HOST}) == [sample["label"] for sample in site.digits.samples]
