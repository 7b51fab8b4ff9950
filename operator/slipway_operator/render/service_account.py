"""The identity of the pods. It may do nothing and its token is not mounted. Pure."""

from __future__ import annotations

from slipway_operator.render.manifest import Manifest, Owner, metadata


def render_service_account(owner: Owner) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(owner, owner.name),
        "automountServiceAccountToken": False,
    }
