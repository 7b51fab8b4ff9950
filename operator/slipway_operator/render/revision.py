"""The ControllerRevision that keeps one accepted spec and the pods that were rendered from it. Pure.

`data` is immutable: the API server sees to that. A revision has a name by its content and a number by its turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slipway_operator.render.manifest import Manifest, Owner, metadata, stable_hash
from slipway_operator.render.pods import Pods
from slipway_operator.resources import CONTROLLER_REVISION


@dataclass(frozen=True)
class Revision:
    """`spec` is what was accepted, without what is no matter of revisions and without defaults."""

    name: str
    number: int
    spec: dict[str, Any]
    pods: Pods
    created: str | None = None

    @property
    def image(self) -> str:
        """What serves, in this revision's pods."""
        found: str = self.pods.template["spec"]["containers"][0]["image"]
        return found


def revision_name(owner: Owner, spec: dict[str, Any], pods: Pods) -> str:
    return f"{owner.name}-{stable_hash(_data(spec, pods))[:10]}"


def render_revision(owner: Owner, revision: Revision) -> Manifest:
    return {
        "apiVersion": CONTROLLER_REVISION.api_version,
        "kind": CONTROLLER_REVISION.kind,
        "metadata": metadata(owner, revision.name),
        "revision": revision.number,
        "data": _data(revision.spec, revision.pods),
    }


def read_revision(name: str, body: dict[str, Any]) -> Revision | None:
    """None when it holds no revision of ours."""
    try:
        data = body["data"]
        found = Revision(
            name=name,
            number=int(body["revision"]),
            spec=dict(data["spec"]),
            pods=Pods(template=dict(data["pods"]["template"]), config=str(data["pods"]["config"])),
            created=body["metadata"].get("creationTimestamp"),
        )
        return found if found.image else None
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def _data(spec: dict[str, Any], pods: Pods) -> dict[str, Any]:
    return {"spec": spec, "pods": {"template": pods.template, "config": pods.config}}
