"""How a change reaches the pods, and how it is taken back."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from slipway_operator.api.schema import ApiModel, Rule, rules

RevisionRef = Annotated[
    int | str,
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "maxLength": 253,
            **rules(
                Rule(
                    "type(self) == int ? self >= 1 : self.matches('^([1-9][0-9]{0,9}|[a-z]([-a-z0-9]*[a-z0-9])?)$')",
                    "got '{string(self)}', expected the number or the name of a revision, as status.revisions lists"
                    " them. Write a number from 1, or a name.",
                )
            ),
        }
    ),
]


class Rollout(ApiModel):
    """How a change reaches the pods. The old revision serves until the new one is ready."""

    strategy: Literal["Auto", "Rolling", "Recreate"] = "Auto"
    """Rolling: a new pod is ready before an old one ends, which needs room for one pod more. Auto: the same, and where
    no node has a free GPU for that pod, an old one ends first. Recreate: every old pod ends first."""
    surge_timeout_seconds: Annotated[int, Field(ge=0, le=3600)] = 60
    """With Auto: how long a new pod may wait for a free GPU before an old one ends in its place. More than a node
    takes to come, where nodes are added on demand."""
    progress_deadline_seconds: Annotated[int, Field(ge=1, le=86400)] = 1800
    """A change that makes no progress for this long counts as stuck."""
    revision_history_limit: Annotated[int, Field(ge=0, le=20)] = 5
    """Older revisions that are kept, to be rolled back to."""
    rollback_to: RevisionRef | None = None
    """Number or name of a revision of `status.revisions` that is served in place of this spec until the field is
    removed. `replicas`, `paused` and this block's `revisionHistoryLimit` still count."""
