"""What is refused of the server image, its container and its environment."""

from __future__ import annotations

from typing import Final

from tests.api.manifests import (
    CONFIG_KEY,
    DIGEST,
    SECRET_KEY,
    Refused,
    custom,
    env,
    manifest,
    service,
    warmup,
)

RUNTIME: Final = (
    # runtime.engine
    Refused("Custom without an image", manifest(custom(image=None)), "spec.runtime.image", ("engine Custom", "Set it")),
    Refused(
        "a container contract for Slipway",
        manifest({"runtime": {"container": {"port": 3000}}}),
        "spec.runtime.container",
        ("engine is Slipway", "Remove it"),
    ),
    Refused(
        "warm-up of a custom server",
        manifest(custom(warmup={"samples": [{"inputs": [{"name": "a", "shape": [1]}]}]})),
        "spec.runtime.warmup",
        ("engine is Custom", "warms itself up"),
    ),
    Refused("workers of a custom server", manifest(custom(execution={})), "spec.runtime.execution", ("own processes",)),
    Refused("tuning of a custom server", manifest(custom(tuning={})), "spec.runtime.tuning", ("in its own way",)),
    Refused("batches of a custom server", manifest(custom({"batching": {}})), "spec.batching", ("forms batches",)),
    Refused(
        "a target of a custom server",
        manifest(custom({"sla": {"p99Milliseconds": 100}})),
        "spec.sla",
        ("latency targets", "Remove it"),
    ),
    Refused(
        "keys of a custom server",
        manifest(custom({"traffic": {"auth": {"apiKeysSecretRef": {"name": "keys"}}}})),
        "spec.traffic.auth",
        ("its own clients",),
    ),
    Refused(
        "TLS of a custom server",
        manifest(custom({"traffic": {"tls": {"secretName": "pair"}}})),
        "spec.traffic.tls",
        ("plain HTTP",),
    ),
    Refused(
        "concurrency of a custom server",
        manifest(custom({"traffic": {"maxConcurrency": 8}})),
        "spec.traffic.maxConcurrency",
        ("bounds its own work", "Remove it"),
    ),
    Refused(
        "gRPC of a custom server",
        manifest(custom(service(grpcPort=9000))),
        "spec.exposure.service.grpcPort",
        ("over HTTP",),
    ),
    Refused(
        "a format for a custom server",
        manifest(custom(), artifact={"format": "TorchScript"}),
        "spec.artifact.format",
        ("loads the file",),
    ),
    Refused(
        "a digest of a file in a custom image",
        manifest(custom(), artifact={"uri": "file:///digits.pt", "digest": DIGEST}),
        "spec.artifact.digest",
        ("file of the image", "pin the image"),
    ),
    Refused(
        "a port for root",
        manifest(custom(container={"port": 80})),
        "spec.runtime.container.port",
        ("80", "1024"),
    ),
    Refused(
        "a probe path without a slash",
        manifest(custom(container={"readinessPath": "healthz"})),
        "spec.runtime.container.readinessPath",
        ("'healthz'", "begins with /"),
    ),
    Refused(
        "a prediction without a path",
        manifest(custom(container={"prediction": {"body": "{}"}})),
        "spec.runtime.container.prediction.path",
        ("Required value",),
    ),
    Refused(
        "a prediction for another server",
        manifest(custom(container={"prediction": {"path": "http://elsewhere/predict"}})),
        "spec.runtime.container.prediction.path",
        ("'http://elsewhere/predict'", "begins with /"),
    ),
    Refused(
        "a media type with words behind it",
        manifest(custom(container={"prediction": {"path": "/p", "contentType": "text/plain utf-8"}})),
        "spec.runtime.container.prediction.contentType",
        ("'text/plain utf-8'", "expected a media type"),
    ),
    Refused(
        "a flag that the operator sets",
        manifest({"runtime": {"args": ["--log-format=text", "--port=1"]}}),
        "spec.runtime.args",
        ("'--port=1'", "Remove it"),
    ),
    Refused(
        "variables from two objects",
        manifest({"runtime": {"envFrom": [{"secretRef": {"name": "a"}, "configMapRef": {"name": "b"}}]}}),
        "spec.runtime.envFrom[0]",
        ("exactly one of secretRef and configMapRef",),
    ),
    # runtime
    *(
        Refused(
            f"an image with {title}",
            manifest({"runtime": {"image": image}}),
            "spec.runtime.image",
            (f"'{image}'", "[REGISTRY[:PORT]/]NAME[:TAG][@sha256:DIGEST]", way_out),
        )
        for title, image, way_out in (
            ("a scheme", "https://ghcr.io/team/runtime:1", "Remove spaces and a scheme"),
            ("the scheme of a daemon", "docker://ghcr.io/team/runtime:1", "Remove spaces and a scheme"),
            ("a space", "runtime: 1", "Remove spaces"),
            ("upper case in the name", "registry/UPPER:1", "NAME in lower case"),
            ("a sign that tags do not have", "registry/runtime:Tag!", "tag or digest whole"),
            ("two tags", "a:b:c", "tag or digest whole"),
            ("an empty tag", "runtime:", "tag or digest whole"),
            ("a tag of more than 128 characters", "runtime:" + "a" * 129, "tag or digest whole"),
            ("an empty digest", "runtime@sha256:", "tag or digest whole"),
            ("nothing after @", "runtime@", "tag or digest whole"),
            ("half a digest", "runtime@sha256:" + "0" * 63, "tag or digest whole"),
            ("a digest in upper case", "runtime@sha256:" + "A" * 64, "tag or digest whole"),
            ("a digest of another kind", "runtime@md5:" + "0" * 64, "tag or digest whole"),
            ("the tag after the digest", f"runtime@{DIGEST}:1", "tag or digest whole"),
            ("an id for a name", "0" * 64, "expected [REGISTRY"),
            ("a port that is no number", "registry:port/runtime", "expected [REGISTRY"),
            ("an empty part", "team//runtime", "expected [REGISTRY"),
            ("a slash before it", "/team/runtime", "expected [REGISTRY"),
            ("a slash behind it", "team/runtime/", "expected [REGISTRY"),
            ("two dots in a row", "team/run..time", "expected [REGISTRY"),
            ("a letter beyond ASCII", "team/läufer:1", "expected [REGISTRY"),
            ("a variable", "$(REGISTRY)/runtime", "expected [REGISTRY"),
        )
    ),
    Refused(
        "a line break in an image",
        manifest({"runtime": {"image": "runtime:1\n"}}),
        "spec.runtime.image",
        ("runtime:1", "expected [REGISTRY", "Remove spaces"),
    ),
    Refused(
        "a pull policy that does not exist",
        manifest({"runtime": {"imagePullPolicy": "always"}}),
        "spec.runtime.imagePullPolicy",
        ('"always"', 'supported values: "Always", "IfNotPresent", "Never"'),
    ),
    Refused(
        "a variable twice",
        manifest(env({"name": "LEVEL", "value": "a"}, {"name": "LEVEL", "value": "b"})),
        "spec.runtime.env[1]",
        ("Duplicate value", "LEVEL"),
    ),
    Refused(
        "a variable with value and valueFrom",
        manifest(env({"name": "LEVEL", "value": "a", "valueFrom": SECRET_KEY})),
        "spec.runtime.env[0]",
        ("'LEVEL'", "both value and valueFrom", "Remove one"),
    ),
    Refused(
        "a variable from nowhere",
        manifest(env({"name": "LEVEL", "valueFrom": {}})),
        "spec.runtime.env[0].valueFrom",
        ("exactly one of secretKeyRef, configMapKeyRef and fieldRef", "add one"),
    ),
    Refused(
        "a variable from two places",
        manifest(env({"name": "LEVEL", "valueFrom": SECRET_KEY | CONFIG_KEY})),
        "spec.runtime.env[0].valueFrom",
        ("exactly one of", "Remove the others"),
    ),
    Refused(
        "a space in a variable's name",
        manifest(env({"name": "LOG LEVEL", "value": "a"})),
        "spec.runtime.env[0].name",
        ("'LOG LEVEL'", "expected letters, digits", "Rename"),
    ),
    Refused(
        "a variable's name that begins with a digit",
        manifest(env({"name": "1LEVEL", "value": "a"})),
        "spec.runtime.env[0].name",
        ("'1LEVEL'", "not beginning with a digit"),
    ),
    Refused(
        "a number in the place of a text",
        manifest(env({"name": "THREADS", "value": 4})),
        "spec.runtime.env[0].value",
        ("must be of type string",),
    ),
    Refused(
        "a key with a slash",
        manifest(env({"name": "A", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "a/b"}}})),
        "spec.runtime.env[0].valueFrom.secretKeyRef.key",
        ("'a/b'", "a key of the object's data", "kubectl describe"),
    ),
    Refused(
        "a warm-up without samples",
        manifest({"runtime": {"warmup": {"samples": []}}}),
        "spec.runtime.warmup.samples",
        ("at least 1 items",),
    ),
    Refused(
        "a warm-up of nothing",
        manifest({"runtime": {"warmup": {}}}),
        "spec.runtime.warmup",
        ("got none", "exactly one of samples and configMapRef", "add one"),
    ),
    Refused(
        "samples in the manifest and in a ConfigMap",
        manifest(
            {
                "runtime": {
                    "warmup": {
                        "samples": [{"inputs": [{"name": "ids", "shape": [1]}]}],
                        "configMapRef": {"name": "samples"},
                    }
                }
            }
        ),
        "spec.runtime.warmup",
        ("got both", "exactly one of samples and configMapRef", "Remove the other"),
    ),
    Refused(
        "a ConfigMap with samples in another namespace",
        manifest({"runtime": {"warmup": {"configMapRef": {"name": "team/samples"}}}}),
        "spec.runtime.warmup.configMapRef.name",
        ("'team/samples'", "the name of a Kubernetes object"),
    ),
    Refused(
        "a key of samples that leads elsewhere",
        manifest({"runtime": {"warmup": {"configMapRef": {"name": "samples", "key": "../token"}}}}),
        "spec.runtime.warmup.configMapRef.key",
        ("'../token'", "a key as ConfigMaps have them", "kubectl describe configmap"),
    ),
    Refused(
        "an input twice",
        manifest(warmup({"name": "ids", "shape": [1]}, {"name": "ids", "shape": [1]})),
        "spec.runtime.warmup.samples[0].inputs[1]",
        ("Duplicate value", "ids"),
    ),
    Refused(
        "a size of zero",
        manifest(warmup({"name": "ids", "shape": [0, 8]})),
        "spec.runtime.warmup.samples[0].inputs[0].shape[0]",
        ("got 0", "expected -1 or at least 1", "Write -1"),
    ),
    Refused(
        "a size below -1",
        manifest(warmup({"name": "ids", "shape": [-2]})),
        "spec.runtime.warmup.samples[0].inputs[0].shape[0]",
        ("-2", "greater than or equal to -1"),
    ),
    Refused(
        "a datatype of torch",
        manifest(warmup({"name": "ids", "shape": [1], "datatype": "float32"})),
        "spec.runtime.warmup.samples[0].inputs[0].datatype",
        ('"float32"', '"FP32"'),
    ),
)
