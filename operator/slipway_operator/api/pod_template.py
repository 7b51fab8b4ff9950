"""What a user may add to the pods: as much of Kubernetes' pod template as undoes none of the operator's promises."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import ConfigDict, Field

from slipway_operator.api.fields import Annotations, LabelMap, ObjectName, Quantity
from slipway_operator.api.scheduling import Affinity, Tolerations, TopologySpreads
from slipway_operator.api.schema import ApiModel, Rule, list_map, list_set, rules

VOLUME_NAMES: Final = ("api-keys", "cache", "config", "shm", "tls", "tmp", "warmup")
"""Of the operator's own volumes."""
MOUNT_PATHS: Final = ("/dev/shm", "/etc/slipway", "/mnt/models", "/run/slipway", "/tmp", "/var/cache/slipway")  # noqa: S108 - a volume's place
"""Where they are mounted."""
OWN_LABELS: Final = tuple(
    f"app.kubernetes.io/{name}" for name in ("component", "instance", "managed-by", "name", "part-of")
)
OWN_PREFIX: Final = "slipway.dev/"

_VolumeName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=63,
        json_schema_extra=rules(
            Rule(
                "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
                "got '{self}', expected lower-case letters, digits and -, with a letter or digit at both ends. Correct"
                " the name.",
            ),
            Rule(
                f"!(self in {list(VOLUME_NAMES)})",
                f"got '{{self}}', expected another name than the operator's own: {', '.join(VOLUME_NAMES)}. Choose"
                " another.",
            ),
        ),
    ),
]


class ConfigMapVolume(ApiModel):
    """Files from a ConfigMap."""

    name: ObjectName
    """Name of the ConfigMap."""
    optional: bool = False
    """True: start without the files when it is missing."""


class SecretVolume(ApiModel):
    """Files from a Secret. The operator never reads it."""

    secret_name: ObjectName
    """Name of the Secret."""
    optional: bool = False
    """True: start without the files when it is missing."""


class ClaimVolume(ApiModel):
    """A PersistentVolumeClaim."""

    claim_name: ObjectName
    """Name of the claim."""
    read_only: bool = False
    """Whether nothing may be written."""


class EmptyVolume(ApiModel):
    """An empty folder that lives as long as the pod."""

    size_limit: Quantity | None = None
    """Most that may be written."""


class Volume(ApiModel):
    """Files for the runtime: exactly one of the four kinds."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "[has(self.configMap), has(self.secret), has(self.persistentVolumeClaim), has(self.emptyDir)]"
                ".exists_one(given, given)",
                "volume '{self.name}': expected exactly one of configMap, secret, persistentVolumeClaim and emptyDir."
                " Remove the others or add one.",
            )
        )
    )

    name: _VolumeName
    """Name that `volumeMounts` refer to."""
    config_map: ConfigMapVolume | None = None
    """Files from a ConfigMap."""
    secret: SecretVolume | None = None
    """Files from a Secret."""
    persistent_volume_claim: ClaimVolume | None = None
    """A PersistentVolumeClaim."""
    empty_dir: EmptyVolume | None = None
    """An empty folder."""


_TAKEN = " || ".join(f"self == '{path}' || self.startsWith('{path}/')" for path in MOUNT_PATHS)

_MountPath = Annotated[
    str,
    Field(
        max_length=1024,
        json_schema_extra=rules(
            Rule(
                "self.startsWith('/') && self.size() > 1 && !self.contains(':')",
                "got '{self}', expected an absolute path such as /models, without ':'. Write it from the root.",
            ),
            Rule(
                "!self.matches('//|/[.][.]?(/|$)|[^/]/$')",
                "got '{self}', expected a path without empty parts, '.' and '..', and without / at its end. Write the"
                " path that it leads to.",
            ),
            Rule(
                f"!({_TAKEN})",
                f"got '{{self}}', expected a path outside of the operator's own: {', '.join(MOUNT_PATHS)}. Choose"
                " another.",
            ),
        ),
    ),
]


_SubPath = Annotated[
    str,
    Field(
        max_length=1024,
        json_schema_extra=rules(
            Rule(
                "!self.startsWith('/') && !self.matches('(^|/)[.][.](/|$)')",
                "got '{self}', expected a path within the volume, without / before it and without '..'. Write it from"
                " the volume's own folder.",
            )
        ),
    ),
]


class VolumeMount(ApiModel):
    """Where the runtime sees a volume."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    """Name of the volume."""
    mount_path: _MountPath
    """Folder in the container."""
    sub_path: _SubPath | None = None
    """Only this folder or file of the volume."""
    read_only: bool = False
    """Whether nothing may be written."""


_Id = Annotated[int, Field(ge=1, le=2**31 - 1)]


class PodSecurity(ApiModel):
    """Users and groups of the pods. What Pod Security "restricted" asks for stays as it is."""

    run_as_user: _Id | None = None
    """User of the process; 65532 when unset. Root is not possible."""
    run_as_group: _Id | None = None
    """Its group; 65532 when unset."""
    fs_group: _Id | None = None
    """Group that owns the files of volumes; 65532 when unset."""
    supplemental_groups: Annotated[list[_Id], Field(max_length=16, json_schema_extra=list_set())] = []
    """Further groups of the process."""


def _own(kind: str) -> str:
    return f"self.{kind}.filter(key, key.startsWith('{OWN_PREFIX}') || key in {list(OWN_LABELS)})"


def _not_ours(kind: str) -> Rule:
    return Rule(
        f"!has(self.{kind}) || {_own(kind)}.size() == 0",
        f"lists '{{{_own(kind)}[0]}}', expected none of the operator's own: {OWN_PREFIX}*, {', '.join(OWN_LABELS)}."
        " Remove it.",
        field_path=f".{kind}",
    )


class PodTemplate(ApiModel):
    """Additions to the pods. A change of it is rolled out like any other."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            _not_ours("labels"),
            _not_ours("annotations"),
            Rule(
                "!has(self.volumeMounts) || self.volumeMounts.all(mount, has(self.volumes) &&"
                " self.volumes.exists(volume, volume.name == mount.name))",
                "names a volume that is not there, expected names of spec.podTemplate.volumes. Correct the name, or add"
                " the volume.",
                field_path=".volumeMounts",
            ),
        )
    )

    labels: LabelMap = {}
    """Further labels of the pods."""
    annotations: Annotations = {}
    """Further annotations of the pods."""
    node_selector: LabelMap = {}
    """Labels of the nodes that pods may run on."""
    affinity: Affinity | None = None
    """Nodes and company that pods need, prefer or avoid."""
    tolerations: Tolerations = []
    """Taints that do not keep the pods away. Those of nodes with the wanted GPUs are tolerated without."""
    topology_spread_constraints: TopologySpreads = []
    """How evenly pods are spread. Each replaces the operator's own for the same topologyKey; the operator spreads by
    host and by zone as far as possible."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods. The cluster's default when unset."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the pods, such as nvidia."""
    scheduler_name: ObjectName | None = None
    """Scheduler that places the pods. Kubernetes' own when unset."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of the pods, for access to a store without keys. One without rights when unset. Its token for the
    API server is not mounted."""
    volumes: Annotated[list[Volume], Field(max_length=16, json_schema_extra=list_map("name"))] = []
    """Further volumes."""
    volume_mounts: Annotated[list[VolumeMount], Field(max_length=16, json_schema_extra=list_map("mountPath"))] = []
    """Where the runtime sees them."""
    security_context: PodSecurity | None = None
    """Users and groups of the pods."""
