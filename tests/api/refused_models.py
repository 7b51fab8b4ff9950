"""What is refused of the object's name, the artifact and rollouts."""

from __future__ import annotations

from typing import Final

from tests.api.manifests import (
    DIGEST,
    Refused,
    env,
    manifest,
    resources,
)

MODELS: Final = (
    # rollout
    Refused(
        "a rollback to nothing",
        manifest({"rollout": {"rollbackTo": 0}}),
        "spec.rollout.rollbackTo",
        ("'0'", "the number or the name of a revision", "from 1"),
    ),
    Refused(
        "a rollback to what is no name",
        manifest({"rollout": {"rollbackTo": "Digits_1"}}),
        "spec.rollout.rollbackTo",
        ("'Digits_1'", "status.revisions"),
    ),
    Refused(
        "more shared memory than memory",
        manifest(resources(sharedMemory="2Gi", limits={"memory": "1Gi"})),
        "spec.resources.sharedMemory",
        ("'2Gi'", "at most the limit of memory", "Lower it"),
    ),
    Refused(
        "half a device",
        manifest(resources(limits={"nvidia.com/gpu": "500m"})),
        "spec.resources.limits",
        ("nvidia.com/gpu '500m'", "a whole number", "Write one"),
    ),
    Refused(
        "a device without a limit",
        manifest(resources(requests={"nvidia.com/gpu": 1})),
        "spec.resources.requests",
        ("'nvidia.com/gpu'", "the same amount in spec.resources.limits", "Write it there"),
    ),
    Refused(
        "huge pages alone",
        manifest(resources(limits={"hugepages-2Mi": "64Mi"})),
        "spec.resources.limits",
        ("huge pages", "cpu or memory beside them", "Write one"),
    ),
    Refused(
        "a GPU's name as quotas have it",
        manifest(resources(gpu={"count": 1, "resourceName": "requests.nvidia.com/gpu"})),
        "spec.resources.gpu.resourceName",
        ("'requests.nvidia.com/gpu'", "DOMAIN/NAME", "Look at"),
    ),
    Refused(
        "a GPU's name that is too long",
        manifest(resources(gpu={"count": 1, "resourceName": "nvidia.com/" + "a" * 64})),
        "spec.resources.gpu.resourceName",
        ("a" * 64, "DOMAIN/NAME"),
    ),
    Refused(
        "an artifact larger than the disk of its pod",
        manifest(resources(limits={"ephemeral-storage": "1Gi"}), artifact={"cache": {"sizeLimit": "2Gi"}}),
        "spec.artifact.cache.sizeLimit",
        ("'2Gi'", "the limit of ephemeral-storage", "Lower it"),
    ),
    Refused(
        "a prefix that no variable may have",
        manifest({"runtime": {"envFrom": [{"secretRef": {"name": "a"}, "prefix": "A="}]}}),
        "spec.runtime.envFrom[0].prefix",
        ("'A='", "letters, digits", "Correct it"),
    ),
    Refused(
        "a field that pods do not tell",
        manifest(env({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.generation"}}})),
        "spec.runtime.env[0].valueFrom.fieldRef.fieldPath",
        ("'metadata.generation'", "status.podIP", "Correct it"),
    ),
    # The object's name.
    Refused("a long name", manifest(name="a" * 53), "metadata.name", ("a" * 53, "at most 52", "shorter name")),
    Refused("a dot in the name", manifest(name="a.b"), "metadata.name", ("'a.b'", "without dots", "Choose")),
    Refused(
        "a name that begins with a digit", manifest(name="1b"), "metadata.name", ("'1b'", "beginning with a letter")
    ),
    # artifact
    Refused(
        "a scheme nobody fetches",
        manifest(artifact={"uri": "gs://models/digits.pt"}),
        "spec.artifact.uri",
        ("'gs://models/digits.pt'", "expected s3://BUCKET/KEY", "Write the URI"),
    ),
    Refused(
        "no scheme",
        manifest(artifact={"uri": "models/digits.pt"}),
        "spec.artifact.uri",
        ("'models/digits.pt'", "expected s3://BUCKET/KEY"),
    ),
    Refused(
        "a bucket without a key",
        manifest(artifact={"uri": "s3://models/"}),
        "spec.artifact.uri",
        ("'s3://models/'", "s3://BUCKET/KEY"),
    ),
    Refused(
        "a scheme in capitals",
        manifest(artifact={"uri": "S3://models/digits.pt"}),
        "spec.artifact.uri",
        ("'S3://models/digits.pt'", "s3://BUCKET/KEY"),
    ),
    Refused(
        "a relative file",
        manifest(artifact={"uri": "file://digits.pt"}),
        "spec.artifact.uri",
        ("'file://digits.pt'", "file:///PATH"),
    ),
    Refused(
        "a password in the URI",
        manifest(artifact={"uri": "https://reader:tiger@models.example.com/digits.pt"}),
        "spec.artifact.uri",
        ("user name or a password", "spec.artifact.credentials.secretRef.name"),
        hidden="tiger",
    ),
    Refused(
        "a password in an s3 URI",
        manifest(artifact={"uri": "s3://reader:tiger@models/digits.pt"}),
        "spec.artifact.uri",
        ("user name or a password", "Put them into a Secret"),
        hidden="tiger",
    ),
    Refused(
        "a digest without its algorithm",
        manifest(artifact={"digest": "0123456789abcdef" * 4}),
        "spec.artifact.digest",
        ("'0123456789abcdef", "sha256: and 64", "sha256sum FILE"),
    ),
    Refused(
        "a digest in capitals",
        manifest(artifact={"digest": DIGEST.upper()}),
        "spec.artifact.digest",
        ("'SHA256:", "lower-case hexadecimal"),
    ),
    Refused(
        "a format that does not exist",
        manifest(artifact={"format": "Torchscript"}),
        "spec.artifact.format",
        ('"Torchscript"', 'supported values: "Auto", "TorchScript"'),
    ),
    Refused(
        "a Secret's name in capitals",
        manifest(artifact={"credentials": {"secretRef": {"name": "My_Store"}}}),
        "spec.artifact.credentials.secretRef.name",
        ("'My_Store'", "lower-case letters", "Correct the name"),
    ),
    Refused(
        "a Secret's name in the place of the reference",
        manifest(artifact={"credentials": {"secretRef": "store"}}),
        "spec.artifact.credentials.secretRef",
        ("must be of type object",),
    ),
    Refused(
        "a stall timeout of zero",
        manifest(artifact={"stallTimeoutSeconds": 0}),
        "spec.artifact.stallTimeoutSeconds",
        ("0", "greater than or equal to 1"),
    ),
)
