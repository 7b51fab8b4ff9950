"""A route of the Gateway API: with the API absent, installed later, removed again; played and real controllers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cluster.lifecycle import Cluster
from tests.fixtures.gateway import (
    ACCEPTED,
    API_VERSION,
    CONTROLLER_ADDRESS,
    GatewayCrds,
    absent_at_first,
    gateway,
    say,
    traefik,
)
from tests.fixtures.objects import Manifest, Objects
from tests.fixtures.operator import REPAIR_SECONDS, Models, OperatorProcess, condition, operator_process

# CRDs come and go here, which takes an API server on a busy machine many seconds each time.
pytestmark = [pytest.mark.api, pytest.mark.timeout(300)]

ROUTED: Final[dict[str, Any]] = {
    "gateway": {"parentRefs": [{"name": "edge"}], "hostnames": ["digits.example.com"], "path": "/models/digits"}
}


@pytest.fixture
def crds(cluster: Cluster) -> Iterator[GatewayCrds]:
    """Not there at first."""
    with absent_at_first(cluster) as found:
        yield found


@pytest.fixture
def gateway_api(crds: GatewayCrds) -> GatewayCrds:
    """There when the operator starts, which needs this fixture before its own."""
    crds.install()
    return crds


@pytest.fixture(params=[False, True], ids=["one namespace", "the whole cluster"])
def either_operator(
    request: pytest.FixtureRequest, cluster: Cluster, objects: Objects, crd: str, crds: GatewayCrds, tmp_path: Path
) -> Iterator[OperatorProcess]:
    found = operator_process(cluster, objects, tmp_path, cluster_wide=request.param)
    found.start()
    yield found
    found.kill()


def route(objects: Objects, **wait: Any) -> Manifest:
    return objects.wait_for("httproute", "digits", lambda found: True, what="made", **wait)


@pytest.mark.feature("gateway")
def test_a_route_is_made_as_soon_as_the_gateway_api_is_there_and_forgotten_when_it_goes(
    models: Models, objects: Objects, crds: GatewayCrds, either_operator: OperatorProcess
) -> None:
    if crds.installed:
        pytest.skip("the cluster of KUBECONFIG has the Gateway API, which is not ours to remove")
    models.create(exposure=ROUTED)
    status = models.wait_condition("RouteReady", "False", "GatewayAPINotInstalled")
    assert "Install the Gateway API" in condition(status, "RouteReady")["message"]
    assert condition(status, "Accepted")["status"] == "True"
    models.make_ready(models.wait_pods(1))
    assert "url" not in models.wait_condition("Available", "True", "PodsReady")

    crds.install()
    made = route(objects)
    gateway(objects)
    models.wait_condition("RouteReady", "False", "RoutePending")
    # It is watched by now: an event brings each of these.
    objects.patch("httproute", "digits", {"spec": {"hostnames": ["stolen.example.com"]}})
    objects.wait_for(
        "httproute",
        "digits",
        lambda found: found["spec"]["hostnames"] == made["spec"]["hostnames"],
        what="put right",
        timeout_seconds=REPAIR_SECONDS,
    )
    say(objects, *ACCEPTED)
    status = models.wait_condition("RouteReady", "True", "RouteAccepted")
    assert status["url"] == "http://digits.example.com/models/digits/"

    crds.remove()
    status = models.wait_condition("RouteReady", "False", "GatewayAPINotInstalled")
    assert "url" not in status
    crds.install()
    route(objects)
    assert either_operator.process is not None
    assert either_operator.process.poll() is None


def test_a_route_says_what_the_spec_says_and_every_field_is_the_gateway_apis_own(
    models: Models, objects: Objects, gateway_api: GatewayCrds, operator: OperatorProcess
) -> None:
    model = models.create(
        exposure=ROUTED | {"service": {"port": 8000}}, traffic={"requestTimeoutSeconds": 90}, replicas=1
    )
    made = route(objects)
    assert made["metadata"]["ownerReferences"][0]["uid"] == model["metadata"]["uid"]
    assert made["spec"]["parentRefs"] == [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}]
    assert made["spec"]["hostnames"] == ["digits.example.com"]
    (rule,) = made["spec"]["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/models/digits"}}]
    assert rule["timeouts"] == {"request": "95s"}
    (backend,) = rule["backendRefs"]
    assert (backend["name"], backend["port"], backend["kind"]) == ("digits", 8000, "Service")
    assert 'code="403"' not in operator.fetch("/metrics")[1]
    operator.settle()
    operator.stop()
    operator.start()
    assert operator.settle() == 0


def test_a_controllers_words_are_passed_on_until_it_accepts_this_generation(
    models: Models, objects: Objects, gateway_api: GatewayCrds, operator: OperatorProcess
) -> None:
    models.create(exposure=ROUTED)
    route(objects)
    status = models.wait_condition("RouteReady", "False", "GatewayNotFound")
    assert f"{objects.namespace}/edge" in condition(status, "RouteReady")["message"]
    gateway(objects)
    models.wait_condition("RouteReady", "False", "RoutePending")
    say(objects, ("Accepted", "False", "NotAllowedByListeners", "no listener admits this namespace"))
    status = models.wait_condition("RouteReady", "False", "RouteNotAccepted")
    assert "NotAllowedByListeners: no listener admits this namespace" in condition(status, "RouteReady")["message"]
    assert "url" not in status
    say(objects, *ACCEPTED)
    assert models.wait_condition("RouteReady", "True", "RouteAccepted")["url"].startswith("http://digits.example.com/")
    models.change(exposure={"gateway": {"hostnames": ["numbers.example.com"]}})
    # What the controller said was about the route as it was.
    assert "url" not in models.wait_condition("RouteReady", "False", "RoutePending")
    say(objects, *ACCEPTED)
    assert models.wait_condition("RouteReady", "True", "RouteAccepted")["url"].startswith("http://numbers.example.com/")


def test_a_route_goes_when_it_is_switched_off_and_comes_back_when_it_is_switched_on(
    models: Models, objects: Objects, gateway_api: GatewayCrds, operator: OperatorProcess
) -> None:
    models.create(exposure=ROUTED)
    route(objects)
    models.change(exposure={"gateway": None, "ingress": {"host": "digits.example.com"}})
    objects.wait_gone("httproute", "digits")
    objects.wait_for("ingress", "digits", lambda found: True, what="made instead")
    models.change(exposure=ROUTED | {"ingress": None})
    route(objects)
    objects.wait_gone("ingress", "digits")
    objects.delete("modeldeployment", "digits")
    objects.wait_collected("httproute", "digits")


def test_a_route_that_is_not_ours_is_left_alone(
    models: Models, objects: Objects, gateway_api: GatewayCrds, operator: OperatorProcess
) -> None:
    metadata = {"name": "digits", "namespace": objects.namespace}
    theirs = objects.create({"apiVersion": API_VERSION, "kind": "HTTPRoute", "metadata": metadata, "spec": {}})
    models.create(exposure=ROUTED)
    status = models.wait_condition("Accepted", "False", "NameConflict")
    assert "HTTPRoute digits" in condition(status, "Accepted")["message"]
    operator.settle()
    after = objects.get("httproute", "digits")
    assert after is not None
    assert after["metadata"]["resourceVersion"] == theirs["metadata"]["resourceVersion"]
    objects.delete("httproute", "digits")
    models.wait_condition("Accepted", "True", "Valid")
    route(objects)


@pytest.mark.feature("gateway")
def test_a_real_controller_accepts_the_route_and_its_address_is_the_url_while_the_gateway_is_there(
    models: Models, objects: Objects, gateway_api: GatewayCrds, operator: OperatorProcess, tmp_path: Path
) -> None:
    gateway_api.install(whole=True)
    with traefik(objects, tmp_path) as port:
        gateway(objects, port=port)
        models.create(exposure={"gateway": {"parentRefs": [{"name": "edge"}], "path": "/digits"}})
        status = models.wait_condition("RouteReady", "True", "RouteAccepted")
        assert status["url"] == f"http://{CONTROLLER_ADDRESS}:{port}/digits/"
        # The controller leaves its last word on the route.
        objects.delete("gateway", "edge")
        status = models.wait_condition("RouteReady", "False", "GatewayNotFound")
        assert "url" not in status
        gateway(objects, "picky", port=port, hostname="only.example.org")
        models.change(exposure={"gateway": {"parentRefs": [{"name": "picky"}], "hostnames": ["digits.example.com"]}})
        status = models.wait_condition("RouteReady", "False", "RouteNotAccepted")
        assert "NoMatchingListenerHostname" in condition(status, "RouteReady")["message"]
