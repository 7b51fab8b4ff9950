"""What is refused of routes, traffic, sizes and numbers of pods."""

from __future__ import annotations

from typing import Final

from tests.api.manifests import Refused, gateway, ingress, manifest, resources, scaler, service

TLS: Final = {"secretName": "tls"}

ROUTES: Final = (
    # exposure.gateway
    Refused(
        "a Gateway's route beside an Ingress",
        manifest({"exposure": {"ingress": {}, "gateway": {"parentRefs": [{"name": "edge"}]}}}),
        "spec.exposure.gateway",
        ("beside spec.exposure.ingress", "one of the two", "Remove"),
    ),
    Refused(
        "no Gateway",
        manifest({"exposure": {"gateway": {"parentRefs": []}}}),
        "spec.exposure.gateway.parentRefs",
        ("at least 1",),
    ),
    Refused(
        "one Gateway twice",
        manifest(gateway({"name": "edge"}, {"name": "edge"})),
        "spec.exposure.gateway.parentRefs",
        ("twice", "each once", "sectionName"),
    ),
    Refused(
        "a Gateway and one of its listeners",
        manifest(gateway({"name": "edge", "namespace": "a"}, {"name": "edge", "namespace": "a", "sectionName": "b"})),
        "spec.exposure.gateway.parentRefs",
        ("twice", "sectionName"),
    ),
    Refused(
        "a namespace that is none",
        manifest(gateway({"name": "edge", "namespace": "Infra"})),
        "spec.exposure.gateway.parentRefs[0].namespace",
        ("'Infra'", "name of a namespace", "Correct"),
    ),
    Refused(
        "a host name with a star",
        manifest(gateway(hostnames=["*.example.com"])),
        "spec.exposure.gateway.hostnames[0]",
        ("'*.example.com'", "host name", "Correct"),
    ),
    Refused(
        "a NetworkPolicy that keeps the Gateway out",
        manifest(gateway() | {"networkPolicy": {}}),
        "spec.networkPolicy.clients",
        ("Gateway controller", "Set"),
    ),
    Refused(
        "a larger body than the pods take",
        manifest(ingress(maxBodyBytes=64 * 1024**2 + 1)),
        "spec.exposure.ingress.maxBodyBytes",
        ("67108865", "at most", "67108864", "spec.traffic.maxRequestBytes"),
    ),
    # resources
    Refused(
        "a GPU resource without a domain",
        manifest(resources(gpu={"count": 1, "resourceName": "gpu"})),
        "spec.resources.gpu.resourceName",
        ("'gpu'", "DOMAIN/NAME such as nvidia.com/gpu", "kubectl describe nodes"),
    ),
    Refused(
        "a negative number of GPUs",
        manifest(resources(gpu={"count": -1})),
        "spec.resources.gpu.count",
        ("-1", "greater than or equal to 0"),
    ),
    Refused(
        "half a GPU",
        manifest(resources(gpu={"count": 0.5})),
        "spec.resources.gpu.count",
        ("must be of type int32",),
    ),
    Refused(
        "GPUs in the limits as well",
        manifest(resources(gpu={"count": 1}, limits={"nvidia.com/gpu": 1})),
        "spec.resources.limits",
        ("'nvidia.com/gpu'", "gpu.count sets already", "Remove it from limits"),
    ),
    Refused(
        "GPUs in the requests as well",
        manifest(resources(gpu={"count": 1}, requests={"nvidia.com/gpu": 1})),
        "spec.resources.requests",
        ("'nvidia.com/gpu'", "gpu.count sets already", "Remove it from requests"),
    ),
    Refused(
        "more requested than allowed",
        manifest(resources(requests={"cpu": 1, "memory": "4Gi"}, limits={"cpu": 1, "memory": "4000Mi"})),
        "spec.resources.requests",
        ("memory '4Gi'", "at most the limit '4000Mi'", "Lower the request or raise the limit"),
    ),
    Refused(
        "more requested than allowed, as a number",
        manifest(resources(requests={"cpu": 2}, limits={"cpu": "500m"})),
        "spec.resources.requests",
        ("cpu '2'", "at most the limit '500m'"),
    ),
    Refused(
        "a unit that does not exist",
        manifest(resources(requests={"memory": "4GB"})),
        "spec.resources.requests[memory]",
        ("'4GB'", "500m, 2, 1.5 or 4Gi", "at most one unit of"),
    ),
    Refused(
        "a negative quantity",
        manifest(resources(limits={"cpu": -1})),
        "spec.resources.limits[cpu]",
        ("'-1'", "expected a quantity"),
    ),
    Refused(
        "a resource that does not exist",
        manifest(resources(limits={"mem": "4Gi"})),
        "spec.resources.limits",
        ("'mem'", "expected cpu, memory, ephemeral-storage", "Correct the name"),
    ),
    # replicas
    Refused(
        "a negative number of pods", manifest({"replicas": -1}), "spec.replicas", ("-1", "greater than or equal to 0")
    ),
    Refused("too many pods", manifest({"replicas": 1001}), "spec.replicas", ("1001", "less than or equal to 1000")),
    Refused("a number in quotes", manifest({"replicas": "2"}), "spec.replicas", ("must be of type integer",)),
    # autoscaling
    Refused(
        "bounds without a word on who scales",
        manifest({"autoscaling": {"minReplicas": 2}}),
        "spec.autoscaling.strategy",
        ("Required value",),
    ),
    Refused(
        "a strategy that does not exist",
        manifest({"autoscaling": {"strategy": "SLA"}}),
        "spec.autoscaling.strategy",
        ('"SLA"', '"External", "None"'),
    ),
    Refused(
        "a lower bound where nobody scales",
        manifest({"autoscaling": {"strategy": "None", "minReplicas": 12}}),
        "spec.autoscaling.minReplicas",
        ("got 12", "strategy is None", "set strategy to External"),
    ),
    Refused(
        "an upper bound where nobody scales",
        manifest({"autoscaling": {"strategy": "None", "maxReplicas": 3}}),
        "spec.autoscaling.maxReplicas",
        ("got 3", "strategy is None", "Remove it"),
    ),
    Refused(
        "a lower bound above the upper one",
        manifest(scaler(minReplicas=10, maxReplicas=9)),
        "spec.autoscaling.minReplicas",
        ("got 10", "at most maxReplicas", "raise maxReplicas"),
    ),
    Refused(
        "an upper bound of nothing",
        manifest(scaler(maxReplicas=0)),
        "spec.autoscaling.maxReplicas",
        ("0", "greater than or equal to 1"),
    ),
    # exposure
    Refused(
        "a port out of range",
        manifest({"exposure": {"service": {"port": 80800}}}),
        "spec.exposure.service.port",
        ("80800", "less than or equal to 65535"),
    ),
    Refused(
        "a kind of Service that does not exist",
        manifest({"exposure": {"service": {"type": "Loadbalancer"}}}),
        "spec.exposure.service.type",
        ('"Loadbalancer"', '"LoadBalancer"'),
    ),
    Refused(
        "tls without a host", manifest(ingress(tls=TLS)), "spec.exposure.ingress.host", ("Required value", "Set spec")
    ),
    Refused(
        "an address in the place of a host",
        manifest(ingress(host="10.0.0.1")),
        "spec.exposure.ingress.host",
        ("'10.0.0.1'", "a name and not an address", "leave it out"),
    ),
    Refused(
        "an annotation of the Ingress with a space in its key",
        manifest(ingress(host="digits.example.com", annotations={"my team": "vision"})),
        "spec.exposure.ingress.annotations",
        ("'my team'", "[DOMAIN/]NAME", "Correct the key"),
    ),
    Refused(
        "a URL in the place of a host",
        manifest(ingress(host="https://digits.example.com")),
        "spec.exposure.ingress.host",
        ("'https://digits.example.com'", "expected a host name such as", "without scheme"),
    ),
    Refused(
        "a host with a port",
        manifest(ingress(host="digits.example.com:8080")),
        "spec.exposure.ingress.host",
        ("'digits.example.com:8080'", "port"),
    ),
    Refused(
        "a relative path",
        manifest(ingress(path="models")),
        "spec.exposure.ingress.path",
        ("'models'", "expected / or segments such as /models/digits"),
    ),
    Refused(
        "a path that ends with a slash",
        manifest(ingress(path="/models/")),
        "spec.exposure.ingress.path",
        ("'/models/'", "without a slash at the end"),
    ),
    Refused(
        "a path with a pattern",
        manifest(ingress(path="/models(/|$)(.*)")),
        "spec.exposure.ingress.path",
        ("'/models(/|$)(.*)'", "Remove what is not a letter"),
    ),
    Refused(
        "a path that goes up",
        manifest(ingress(path="/models/../admin")),
        "spec.exposure.ingress.path",
        ("'/models/../admin'", "segments . and ..", "Write the path"),
    ),
    Refused(
        "an IngressClass in capitals",
        manifest(ingress(className="Nginx")),
        "spec.exposure.ingress.className",
        ("'Nginx'", "lower-case letters"),
    ),
    Refused(
        "gRPC on HTTP's port",
        manifest(service(port=9000, grpcPort=9000)),
        "spec.exposure.service.grpcPort",
        ("9000", "another port than spec.exposure.service.port", "Choose another"),
    ),
    # traffic, rollout
    Refused(
        "authentication without keys",
        manifest({"traffic": {"auth": {}}}),
        "spec.traffic.auth.apiKeysSecretRef",
        ("Required value",),
    ),
    Refused(
        "a timeout above an hour",
        manifest({"traffic": {"requestTimeoutSeconds": 3601}}),
        "spec.traffic.requestTimeoutSeconds",
        ("3601", "less than or equal to 3600"),
    ),
    Refused(
        "a body limit of zero",
        manifest({"traffic": {"maxRequestBytes": 0}}),
        "spec.traffic.maxRequestBytes",
        ("0", "greater than or equal to 1"),
    ),
    Refused(
        "no request at a time",
        manifest({"traffic": {"maxConcurrency": 0}}),
        "spec.traffic.maxConcurrency",
        ("0", "greater than or equal to 1"),
    ),
    Refused(
        "a deadline of zero",
        manifest({"rollout": {"progressDeadlineSeconds": 0}}),
        "spec.rollout.progressDeadlineSeconds",
        ("0", "greater than or equal to 1"),
    ),
)
