"""Who decides on the number of pods."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from slipway_operator.api.schema import ApiModel, Rule, number, rules

REPLICAS_LIMIT: Final = 1000


def _only_with_a_scaler(field: str) -> Rule:
    return Rule(
        f"self.strategy != 'None' || !has(self.{field})",
        f"got {{{number(f'self.{field}', REPLICAS_LIMIT)}}}, expected none where strategy is None: spec.replicas alone"
        " says how many. Remove it, or set strategy to External.",
        field_path=f".{field}",
        reason="FieldValueForbidden",
    )


class Autoscaling(ApiModel):
    """Who sets the number of pods, and within which bounds."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *(_only_with_a_scaler(field) for field in ("minReplicas", "maxReplicas")),
            Rule(
                "self.strategy == 'None' || !has(self.minReplicas) || !has(self.maxReplicas) ||"
                " self.minReplicas <= self.maxReplicas",
                f"got {{{number('self.minReplicas', REPLICAS_LIMIT)}}}, expected at most maxReplicas. Lower it, or"
                " raise maxReplicas.",
                field_path=".minReplicas",
            ),
        )
    )

    strategy: Literal["External", "None"]
    """External: a HorizontalPodAutoscaler, KEDA or `kubectl scale` sets `spec.replicas` through this object's `/scale`,
    and the operator carries it out within the bounds below. None: `spec.replicas` is the number, without bounds."""
    min_replicas: Annotated[int, Field(ge=0, le=REPLICAS_LIMIT)] | None = None
    """Fewest pods that run, whatever `spec.replicas` says; the condition ScalingLimited tells when it counts. No bound
    when unset."""
    max_replicas: Annotated[int, Field(ge=1, le=REPLICAS_LIMIT)] | None = None
    """Most pods that run, whatever `spec.replicas` says; the condition ScalingLimited tells when it counts. No bound
    when unset."""
