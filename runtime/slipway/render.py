"""Every child that the operator would make of a ModelDeployment, as YAML for readers and `kubectl --dry-run`. Pure.

Owner references are left out: they carry the object's uid, which only a cluster gives, and with an invented one the
garbage collector would delete whatever was applied.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from slipway.manifest import is_plain_text
from slipway.validation import ValidModel
from slipway_operator.render.children import render_children
from slipway_operator.render.manifest import Owner, RenderSettings

_NO_UID: Final = ""
DEFAULT_NAMESPACE: Final = "default"


class _Dumper(yaml.SafeDumper):
    """Text of several lines as a block, so that the ConfigMap's JSON can be read; nothing that kubectl misreads."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None if is_plain_text(text) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def render_yaml(model: ValidModel, namespace: str | None, settings: RenderSettings) -> str:
    """`namespace` wins over the manifest's own."""
    owner = Owner(namespace or model.namespace or DEFAULT_NAMESPACE, model.name, _NO_UID)
    header = (
        f"# ModelDeployment {owner.namespace}/{owner.name}, from {model.source}\n"
        "# Left out, because only the cluster knows the uid: metadata.ownerReferences of every object.\n"
    )
    documents = []
    for child in render_children(owner, model.spec, settings):
        child["metadata"].pop("ownerReferences")
        documents.append(yaml.dump(child, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True))
    return header + "".join(f"---\n{document}" for document in documents)
