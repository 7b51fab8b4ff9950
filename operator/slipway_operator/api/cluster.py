"""How the model gets on with the rest of the cluster: drains of nodes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from slipway_operator.api.schema import ApiModel, Rule, rules

Unavailable = Annotated[
    int | str,
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "maxLength": 8,
            **rules(
                Rule(
                    "type(self) == int ? self >= 1 && self <= 1000 : self.matches('^([1-9][0-9]?|100)%$')",
                    "got '{string(self)}', expected a number of pods or a share of them such as 1 or 25%, without which"
                    " no node could ever be drained. Write a number from 1, or a share from 1% to 100%.",
                )
            ),
        }
    ),
]


class Disruption(ApiModel):
    """What a drain of nodes may take at a time."""

    max_unavailable: Unavailable = 1
    """Pods that may be away at a time, as a number or as a share such as 25%. It counts where there are several; a
    single pod holds up no drain."""
