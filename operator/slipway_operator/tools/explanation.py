"""What `kubectl explain` says of a field beside its description: its default and its limits. Pure."""

from __future__ import annotations

import json
from typing import Any, Final

JsonSchema = dict[str, Any]

LIMIT_WORDS: Final = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "maxProperties": "at most {} entries",
}
"""In the order in which they are told. kubectl itself shows the values of an enum."""


def explained(schema: JsonSchema) -> JsonSchema:
    """A copy whose descriptions, at any depth, end with the default and the limits."""
    found = dict(schema)
    if "description" in found:
        found["description"] = " ".join([found["description"], *_sentences(found)])
    if "properties" in found:
        found["properties"] = {name: explained(field) for name, field in found["properties"].items()}
    for keyword in ("items", "additionalProperties"):
        if keyword in found:
            found[keyword] = explained(found[keyword])
    return found


def _sentences(field: JsonSchema) -> list[str]:
    limits = [words.format(field[keyword]) for keyword, words in LIMIT_WORDS.items() if keyword in field]
    told = []
    if field.get("minLength") == 1:
        limits.remove(LIMIT_WORDS["minLength"].format(1))
        told.append("Not empty.")
    if limits:
        text = ", ".join(limits)
        told.append(f"{text[0].upper()}{text[1:]}.")
    if "default" in field:
        default = field["default"]
        told.append(f"Default: {default if isinstance(default, str) else json.dumps(default)}.")
    return told
