"""What is refused of additions to the pods, drains and NetworkPolicies."""

from __future__ import annotations

from typing import Any, Final

from tests.api.manifests import Manifest, Refused, ingress, manifest, pods


def chosen(**requirement: Any) -> Manifest:
    """Pods by one requirement on a label."""
    return {"podSelector": {"matchExpressions": [{"key": "team"} | requirement]}}


def nodes(**requirement: Any) -> Manifest:
    """The same for nodes that pods need."""
    terms = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "cores"} | requirement]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


NODE_VALUES: Final = (
    "spec.podTemplate.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
    ".matchExpressions[0].values"
)

PODS: Final = (
    # disruption
    Refused(
        "a budget that no drain gets past",
        manifest({"disruption": {"maxUnavailable": 0}}),
        "spec.disruption.maxUnavailable",
        ("'0'", "could ever be drained", "Write a number"),
    ),
    Refused(
        "a share without its sign",
        manifest({"disruption": {"maxUnavailable": "25"}}),
        "spec.disruption.maxUnavailable",
        ("'25'", "such as 1 or 25%", "Write a number"),
    ),
    # networkPolicy
    Refused(
        "a peer that is nobody",
        manifest({"networkPolicy": {"clients": [{}]}}),
        "spec.networkPolicy.clients[0]",
        ("neither namespaceSelector nor podSelector", "Set one"),
    ),
    Refused(
        "an Ingress whose controller is kept out",
        manifest(ingress(host="digits.example.com") | {"networkPolicy": {}}),
        "spec.networkPolicy.clients",
        ("got none", "the pods of the Ingress or Gateway controller", "Set the namespace"),
    ),
    Refused(
        "a peer by no value",
        manifest({"networkPolicy": {"clients": [chosen(operator="In")]}}),
        "spec.networkPolicy.clients[0].podSelector.matchExpressions[0].values",
        ("got none", "In or NotIn", "Write one"),
    ),
    Refused(
        "a peer by values that nobody compares",
        manifest({"networkPolicy": {"clients": [chosen(operator="Exists", values=["a"])]}}),
        "spec.networkPolicy.clients[0].podSelector.matchExpressions[0].values",
        ("'a'", "Exists or DoesNotExist", "Remove it"),
    ),
    Refused(
        "a peer by a value that no label has",
        manifest({"networkPolicy": {"clients": [chosen(operator="NotIn", values=["a", "b c"])]}}),
        "spec.networkPolicy.clients[0].podSelector.matchExpressions[0].values",
        ("'b c'", "a letter or digit at both ends", "Correct the value"),
    ),
    # podTemplate
    Refused(
        "an annotation's key with a space",
        manifest(pods(annotations={"my team": "vision"})),
        "spec.podTemplate.annotations",
        ("'my team'", "[DOMAIN/]NAME", "Correct the key"),
    ),
    Refused(
        "nodes by no value",
        manifest(pods(affinity=nodes(operator="In"))),
        NODE_VALUES,
        ("got none", "In or NotIn", "Write one"),
    ),
    Refused(
        "nodes by values that nobody compares",
        manifest(pods(affinity=nodes(operator="DoesNotExist", values=["a"]))),
        NODE_VALUES,
        ("'a'", "Exists or DoesNotExist", "Remove it"),
    ),
    Refused(
        "nodes by a value that no label has",
        manifest(pods(affinity=nodes(operator="In", values=["a b"]))),
        NODE_VALUES,
        ("'a b'", "a letter or digit at both ends", "Correct the value"),
    ),
    Refused(
        "nodes with more than a word",
        manifest(pods(affinity=nodes(operator="Gt", values=["many"]))),
        NODE_VALUES,
        ("exactly one whole number", "Gt or Lt", "Write one"),
    ),
    Refused(
        "a place that is no label",
        manifest(pods(topologySpreadConstraints=[{"topologyKey": "my zone"}])),
        "spec.podTemplate.topologySpreadConstraints[0].topologyKey",
        ("'my zone'", "[DOMAIN/]NAME", "Correct it"),
    ),
    Refused(
        "a taint's value with a space",
        manifest(pods(tolerations=[{"key": "team", "value": "the vision"}])),
        "spec.podTemplate.tolerations[0].value",
        ("'the vision'", "a letter or digit at both ends", "Correct the value"),
    ),
    *(
        Refused(
            f"a mount that leads to another path: {path}",
            manifest(pods(volumes=[{"name": "a", "emptyDir": {}}], volumeMounts=[{"name": "a", "mountPath": path}])),
            "spec.podTemplate.volumeMounts[0].mountPath",
            (f"'{path}'", "without empty parts", "Write the path"),
        )
        for path in ("/a/../tmp", "//tmp", "/etc//slipway", "/a/./b", "/models/")
    ),
    *(
        Refused(
            f"a part of a volume that lies outside of it: {path}",
            manifest(
                pods(
                    volumes=[{"name": "a", "emptyDir": {}}],
                    volumeMounts=[{"name": "a", "mountPath": "/a", "subPath": path}],
                )
            ),
            "spec.podTemplate.volumeMounts[0].subPath",
            (f"'{path}'", "within the volume", "Write it from"),
        )
        for path in ("../other", "/absolute", "a/..")
    ),
    Refused(
        "a label of the operator's",
        manifest(pods(labels={"app.kubernetes.io/instance": "other"})),
        "spec.podTemplate.labels",
        ("'app.kubernetes.io/instance'", "none of the operator's own", "Remove it"),
    ),
    Refused(
        "an annotation of the operator's",
        manifest(pods(annotations={"slipway.dev/template-hash": "x"})),
        "spec.podTemplate.annotations",
        ("'slipway.dev/template-hash'", "none of the operator's own"),
    ),
    Refused(
        "a label's key with a space",
        manifest(pods(labels={"my team": "vision"})),
        "spec.podTemplate.labels",
        ("'my team'", "[DOMAIN/]NAME", "Correct the key"),
    ),
    Refused(
        "a label's value with a space",
        manifest(pods(nodeSelector={"team": "the vision"})),
        "spec.podTemplate.nodeSelector",
        ("'team'", "no label's", "Correct the value"),
    ),
    Refused(
        "a volume of the operator's",
        manifest(pods(volumes=[{"name": "tmp", "emptyDir": {}}])),
        "spec.podTemplate.volumes[0].name",
        ("'tmp'", "the operator's own", "Choose another"),
    ),
    Refused(
        "a volume's name in capitals",
        manifest(pods(volumes=[{"name": "Scratch", "emptyDir": {}}])),
        "spec.podTemplate.volumes[0].name",
        ("'Scratch'", "lower-case letters"),
    ),
    Refused(
        "a volume of nothing",
        manifest(pods(volumes=[{"name": "a"}])),
        "spec.podTemplate.volumes[0]",
        ("volume 'a'", "exactly one of configMap, secret", "add one"),
    ),
    Refused(
        "a volume of two things",
        manifest(pods(volumes=[{"name": "a", "emptyDir": {}, "secret": {"secretName": "b"}}])),
        "spec.podTemplate.volumes[0]",
        ("volume 'a'", "exactly one of", "Remove the others"),
    ),
    Refused(
        "a mount of no volume",
        manifest(pods(volumes=[{"name": "a", "emptyDir": {}}], volumeMounts=[{"name": "b", "mountPath": "/b"}])),
        "spec.podTemplate.volumeMounts",
        ("a volume that is not there", "spec.podTemplate.volumes", "Correct the name"),
    ),
    Refused(
        "a mount over the operator's own",
        manifest(
            pods(volumes=[{"name": "a", "emptyDir": {}}], volumeMounts=[{"name": "a", "mountPath": "/etc/slipway/x"}])
        ),
        "spec.podTemplate.volumeMounts[0].mountPath",
        ("'/etc/slipway/x'", "outside of the operator's own", "Choose another"),
    ),
    Refused(
        "a mount at a relative path",
        manifest(pods(volumes=[{"name": "a", "emptyDir": {}}], volumeMounts=[{"name": "a", "mountPath": "models"}])),
        "spec.podTemplate.volumeMounts[0].mountPath",
        ("'models'", "absolute path", "Write it from the root"),
    ),
    Refused(
        "root",
        manifest(pods(securityContext={"runAsUser": 0})),
        "spec.podTemplate.securityContext.runAsUser",
        ("0", "greater than or equal to 1"),
    ),
    Refused(
        "a toleration of a value that only has to exist",
        manifest(pods(tolerations=[{"key": "gpu", "operator": "Exists", "value": "yes"}])),
        "spec.podTemplate.tolerations[0].value",
        ("'yes'", "none where operator is Exists", "Remove it"),
    ),
    Refused(
        "a toleration without a key",
        manifest(pods(tolerations=[{"value": "yes"}])),
        "spec.podTemplate.tolerations[0].key",
        ("needs a key where operator is Equal", "Set it"),
    ),
    Refused(
        "a time for a taint that ends no pod",
        manifest(pods(tolerations=[{"key": "gpu", "effect": "NoSchedule", "tolerationSeconds": 5}])),
        "spec.podTemplate.tolerations[0].tolerationSeconds",
        ("needs the effect NoExecute", "Set effect"),
    ),
    Refused(
        "a number of places that binds nobody",
        manifest(pods(topologySpreadConstraints=[{"topologyKey": "zone", "minDomains": 2}])),
        "spec.podTemplate.topologySpreadConstraints[0].minDomains",
        ("DoNotSchedule", "Set whenUnsatisfiable"),
    ),
    Refused(
        "two spreads over the same places",
        manifest(pods(topologySpreadConstraints=[{"topologyKey": "zone"}, {"topologyKey": "zone", "maxSkew": 2}])),
        "spec.podTemplate.topologySpreadConstraints[1]",
        ("Duplicate value", "zone"),
    ),
)
