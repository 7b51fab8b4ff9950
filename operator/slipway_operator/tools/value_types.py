"""What the chart's values are made of. Pure."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Object = dict[str, Any]
Labels = dict[str, str]
Digest = Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64})?$")]
Namespace = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


class Values(BaseModel):
    """camelCase in values files; an unknown key is an error and not a setting without effect."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, extra="forbid", use_attribute_docstrings=True
    )
