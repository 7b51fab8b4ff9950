"""What the API server must refuse: each rule of the CRD, and slips of the pen.

A refusal is judged by the words a user reads: the field's path and the words that say what is wrong and what to do.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Final

from tests.api.manifests import EVERY_FIELD, Manifest, Refused, manifest
from tests.api.refused_models import MODELS
from tests.api.refused_pods import PODS
from tests.api.refused_routes import ROUTES
from tests.api.refused_runtime import RUNTIME
from tests.api.refused_serving import SERVING

REFUSED: Final = (*MODELS, *RUNTIME, *ROUTES, *SERVING, *PODS)


def _without_uri() -> Manifest:
    document = manifest()
    del document["spec"]["artifact"]["uri"]
    return document


def _changed(path: str, old: str, new: str) -> Manifest:
    """The manifest with every field, one key misspelt."""
    document = deepcopy(EVERY_FIELD)
    place = document
    for step in path.split("."):
        place = place[step]
    place[new] = place.pop(old)
    return document


TYPOS: Final = (
    Refused("the URI forgotten", _without_uri(), "spec.artifact.uri", ("Required value",)),
    Refused("a key misspelt", _changed("spec", "replicas", "replica"), "spec.replica", ("unknown field",)),
    Refused("a key of another API", _changed("spec.artifact", "uri", "url"), "spec.artifact.url", ("unknown field",)),
    Refused(
        "a key in snake case",
        _changed("spec.traffic", "maxRequestBytes", "max_request_bytes"),
        "spec.traffic.max_request_bytes",
        ("unknown field",),
    ),
    Refused(
        "a version to come", manifest() | {"apiVersion": "slipway.dev/v1"}, "slipway.dev/v1", ("no matches for kind",)
    ),
    Refused("the kind misspelt", manifest() | {"kind": "Modeldeployment"}, "Modeldeployment", ("no matches for kind",)),
    Refused(
        "a list in the place of an object",
        manifest({"runtime": [{"image": "a"}]}),
        "spec.runtime[0].image",
        ("unknown field",),
    ),
    Refused(
        "an object in the place of a list",
        manifest({"runtime": {"env": {"LEVEL": "debug"}}}),
        "spec.runtime.env.LEVEL",
        ("unknown field",),
    ),
    Refused("a block left empty", manifest({"artifact": None}), "spec.artifact", ("Required value",)),
    Refused(
        "a unit in a number of seconds",
        manifest({"traffic": {"requestTimeoutSeconds": "30s"}}),
        "spec.traffic.requestTimeoutSeconds",
        ("must be of type integer",),
    ),
)
"""Ten mistakes of a first hour, answered by the API server itself; the words are what kubectl prints."""
