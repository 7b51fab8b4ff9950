"""What the API server must take."""

from __future__ import annotations

from typing import Final

from tests.api.manifests import (
    DIGEST,
    EVERY_FIELD,
    Accepted,
    batching,
    custom,
    env,
    gateway,
    ingress,
    manifest,
    pods,
    resources,
    scaler,
    service,
    sla,
    warmup,
)

ACCEPTED: Final = (
    Accepted("the least", manifest()),
    Accepted("every field", EVERY_FIELD),
    Accepted("the longest name", manifest(name="a" * 52)),
    Accepted("a name with digits and hyphens", manifest(name="digits-v2")),
    Accepted("an https URI", manifest(artifact={"uri": "https://models.example.com/digits/1/model.pt"})),
    Accepted("an http URI with a port and a query", manifest(artifact={"uri": "http://10.0.0.1:9000/m.pt?version=3"})),
    Accepted("an @ in the path", manifest(artifact={"uri": "s3://models/team@example/digits.pt"})),
    Accepted("a file of the image", manifest(artifact={"uri": "file:///models/digits.pt"})),
    Accepted("nothing served for now", manifest({"replicas": 0})),
    Accepted("quantities of every form", manifest(resources(requests={"cpu": 1, "memory": "1.5Gi"}))),
    Accepted("a quantity with an exponent", manifest(resources(requests={"memory": "1e9"}))),
    Accepted("a quantity that begins with a point", manifest(resources(requests={"cpu": ".5"}))),
    Accepted("a request equal to its limit", manifest(resources(requests={"cpu": "1000m"}, limits={"cpu": 1}))),
    Accepted("a request without a limit", manifest(resources(requests={"cpu": 4}, limits={"memory": "1Gi"}))),
    Accepted(
        "a label and an annotation of the pod as variables",
        manifest(
            env(
                {"name": "TEAM", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['example.com/team']"}}},
                {"name": "COST", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['cost_center']"}}},
            )
        ),
    ),
    Accepted("huge pages", manifest(resources(limits={"hugepages-2Mi": "64Mi", "memory": "1Gi"}))),
    Accepted("another extended resource", manifest(resources(gpu={"count": 1}, limits={"rdma/hca": 1}))),
    Accepted("GPUs of another vendor", manifest(resources(gpu={"count": 1, "resourceName": "amd.com/gpu"}))),
    Accepted("the root path", manifest(ingress(path="/"))),
    Accepted("tls with a host", manifest(ingress(host="a.example.com", tls={"secretName": "tls"}))),
    Accepted("a host without tls", manifest(ingress(host="localhost"))),
    Accepted("a body as large as the pods take", manifest(ingress(maxBodyBytes=64 * 1024**2))),
    Accepted(
        "a larger body where the pods take it",
        manifest(ingress(maxBodyBytes=2**30) | {"traffic": {"maxRequestBytes": 2**30}}),
    ),
    Accepted("a route of the Gateway API", manifest(gateway())),
    Accepted(
        "every field of a Gateway's route",
        manifest(
            gateway(
                {"name": "edge", "namespace": "infra", "sectionName": "https", "port": 443},
                hostnames=["digits.example.com", "numbers.example.com"],
                path="/models/digits",
            )
        ),
    ),
    Accepted(
        "two listeners of one Gateway and two Gateways of one name",
        manifest(
            gateway(
                {"name": "edge", "sectionName": "http"},
                {"name": "edge", "sectionName": "https"},
                {"name": "edge", "namespace": "infra"},
            )
        ),
    ),
    Accepted("a path with dots", manifest(ingress(path="/v1.2/.well-known/..models"))),
    Accepted("a variable that is empty", manifest(env({"name": "EMPTY", "value": ""}))),
    Accepted("a variable's name with dots", manifest(env({"name": "spring.level", "value": "x"}))),
    *(
        Accepted(f"an image {title}", manifest({"runtime": {"image": image}}))
        for title, image in (
            ("of a local registry", "localhost:5000/runtime"),
            ("of Docker Hub in one word", "nginx"),
            ("of Docker Hub with its owner", "team/runtime:1.0"),
            ("of Docker Hub in full", "docker.io/library/nginx:1.29-alpine"),
            ("with registry, port and tag", "registry.example.com:5000/a/b/c:V1.0_rc-2"),
            ("with a digest", f"ghcr.io/team/runtime@{DIGEST}"),
            ("with tag and digest", f"ghcr.io/team/runtime:1@{DIGEST}"),
            ("with a longer digest", "runtime@sha512:" + "0" * 128),
            ("of an address", "10.0.0.1:5000/runtime:1"),
            ("of an address of IPv6", "[2001:db8::1]:5000/runtime:1"),
            ("with signs between letters", "Registry.example.com/a-b/c__d/e.f/g---h:_"),
            ("with a tag of 128 characters", "runtime:" + "a" * 128),
        )
    ),
    Accepted("a target and nothing else about batches", manifest(sla(p99Milliseconds=100))),
    Accepted("equal targets", manifest(sla(p50Milliseconds=100, p95Milliseconds=100, p99Milliseconds=100))),
    Accepted("a target as long as the timeout", manifest(sla(p95Milliseconds=30_000))),
    Accepted(
        "a target within a longer timeout",
        manifest(sla(p50Milliseconds=300_000) | {"traffic": {"requestTimeoutSeconds": 300}}),
    ),
    Accepted("batches without a target", manifest(batching(maxBatchSize=8))),
    Accepted("no batches", manifest(batching(mode="Disabled", maxQueueLength=4))),
    Accepted("one size", manifest(batching(allowedBatchSizes=[32]))),
    Accepted(
        "sizes in any order up to the largest batch", manifest(batching(maxBatchSize=8, allowedBatchSizes=[8, 2, 4]))
    ),
    Accepted("a static batch without a window", manifest(batching(mode="Static", maxBatchSize=16))),
    Accepted("efficiency with a target", manifest(batching(objective="Efficiency") | sla(p95Milliseconds=200))),
    Accepted("efficiency with a wait", manifest(batching(objective="Efficiency", maxQueueDelayMilliseconds=20))),
    Accepted(
        "a wait shorter than the target", manifest(batching(maxQueueDelayMilliseconds=9) | sla(p50Milliseconds=10))
    ),
    Accepted(
        "the server's own process", manifest({"runtime": {"execution": {"isolation": "InProcess", "threads": 1}}})
    ),
    Accepted("no tuning", manifest({"runtime": {"tuning": {"mode": "Disabled"}}})),
    Accepted("a Python handler", manifest(artifact={"format": "Python"})),
    Accepted("gRPC beside HTTP", manifest(service(grpcPort=81))),
    Accepted("a folder for files", manifest(pods(volumes=[{"name": "scratch", "emptyDir": {}}]))),
    Accepted("every taint tolerated", manifest(pods(tolerations=[{"operator": "Exists"}]))),
    Accepted("a label without a value", manifest(pods(labels={"canary": ""}))),
    Accepted(
        "a mount beside the operator's own",
        manifest(
            pods(
                volumes=[{"name": "a", "emptyDir": {}}],
                volumeMounts=[{"name": "a", "mountPath": "/etc/slipway-extra"}, {"name": "a", "mountPath": "/tmpfs"}],
            )
        ),
    ),
    Accepted("a scaler without bounds", manifest({"autoscaling": {"strategy": "External"}})),
    Accepted("a fixed number", manifest({"replicas": 2, "autoscaling": {"strategy": "None"}})),
    Accepted("equal bounds", manifest(scaler(minReplicas=2, maxReplicas=2))),
    Accepted("fewer pods than the lower bound", manifest(scaler(minReplicas=2) | {"replicas": 0})),
    Accepted("more pods than the upper bound", manifest(scaler(maxReplicas=2) | {"replicas": 9})),
    Accepted("a rollback by number", manifest({"rollout": {"rollbackTo": 3}})),
    Accepted("a rollback by a number in quotes", manifest({"rollout": {"rollbackTo": "12"}})),
    Accepted("shared memory without a limit of memory", manifest(resources(sharedMemory="8Gi"))),
    Accepted("any container that speaks HTTP", manifest(custom())),
    Accepted(
        "a container with a contract of its own",
        manifest(
            custom(
                container={
                    "port": 3000,
                    "command": ["python", "-m", "app"],
                    "readinessPath": "/health?deep=1",
                    "livenessPath": "/live",
                    "metricsPath": "/metrics",
                    "writableRootFilesystem": True,
                    "prediction": {"path": "/predict?top=1", "body": "ä", "contentType": "text/plain; charset=utf-8"},
                },
                args=["--port", "3000"],
            )
        ),
    ),
    Accepted("a file of a custom image", manifest(custom(), artifact={"uri": "file:///models/digits.pt"})),
    Accepted("two pods away at a time", manifest({"disruption": {"maxUnavailable": 2}})),
    Accepted("all pods away at a time", manifest({"disruption": {"maxUnavailable": "100%"}})),
    Accepted("the own namespace alone", manifest({"networkPolicy": {}})),
    Accepted("samples from a ConfigMap", manifest({"runtime": {"warmup": {"configMapRef": {"name": "samples"}}}})),
    Accepted(
        "samples from a key of a ConfigMap",
        manifest({"runtime": {"warmup": {"configMapRef": {"name": "team.samples", "key": "Small_1.json"}}}}),
    ),
    Accepted("one request at a time", manifest({"traffic": {"maxConcurrency": 1}})),
    Accepted("two inputs", manifest(warmup({"name": "ids", "shape": [1, 128]}, {"name": "mask", "shape": [1, 128]}))),
)
