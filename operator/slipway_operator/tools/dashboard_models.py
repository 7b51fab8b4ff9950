"""The dashboard of the served models. Pure data; `$namespace` and `$modeldeployment` are what is looked at."""

from __future__ import annotations

from typing import Final

from slipway_operator.tools.dashboards import Dashboard, Panel, Query, Row, Variable, quantile, rate

_CHOSEN: Final = 'namespace=~"$namespace", modeldeployment=~"$modeldeployment"'
_EACH: Final = "namespace, modeldeployment"
_NAMED: Final = "{{namespace}}/{{modeldeployment}}"
_READY: Final = f'max by ({_EACH}) (slipway_operator_modeldeployment_condition{{{_CHOSEN}, condition="Ready"}})'
_PREDICTIONS: Final = f'{_CHOSEN}, protocol!="other"'


def _object(metric: str, by: str = _EACH, chosen: str = "") -> str:
    return f"max by ({by}) (slipway_operator_modeldeployment_{metric}{{{_CHOSEN}{chosen}}})"


def _rate(metric: str, by: str = _EACH, chosen: str = _CHOSEN) -> str:
    return rate(f"slipway_runtime_{metric}", by, chosen)


def _quantile(share: str, metric: str, by: str = _EACH, chosen: str = _CHOSEN) -> str:
    return quantile(share, f"slipway_runtime_{metric}", by, chosen)


def _sum(metric: str, by: str = _EACH) -> str:
    return f"sum by ({by}) (slipway_runtime_{metric}{{{_CHOSEN}}})"


_STATE: Final = Row(
    "State",
    (
        Panel("Ready", (Query(f"sum({_READY} == 1)"),), kind="stat"),
        Panel(
            "Not Ready",
            (Query(_object("not_ready_reason", f"{_EACH}, reason")),),
            kind="table",
        ),
        Panel(
            "Replicas",
            (
                Query(_object("replicas_ready"), f"ready, {_NAMED}"),
                Query(_object("replicas_wanted"), f"wanted, {_NAMED}"),
            ),
        ),
        Panel("Status behind the spec", (Query(_object("generation_lag"), _NAMED),), text="Generations."),
    ),
)

_TARGETS: Final = Row(
    "Service level",
    (
        Panel(
            "Answers within the target",
            (
                Query(
                    _rate("sla_requests_total", f"{_EACH}, objective", f'{_CHOSEN}, met="true"')
                    + " / "
                    + _rate("sla_requests_total", f"{_EACH}, objective"),
                    f"{_NAMED} {{{{objective}}}}",
                ),
            ),
            "percentunit",
        ),
        Panel(
            "Burn rate over an hour",
            (Query(f"slipway:sla_burn:rate1h{{{_CHOSEN}}}", f"{_NAMED} {{{{objective}}}}"),),
            text="1 uses up the target's allowance exactly. From the recording rules of this chart.",
        ),
        Panel(
            "Latency",
            tuple(
                Query(_quantile(share, "request_duration_seconds"), f"{legend}, {_NAMED}")
                for share, legend in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))
            ),
            "s",
        ),
        Panel(
            "Where the time goes, p95",
            (Query(_quantile("0.95", "request_stage_seconds", "stage"), "{{stage}}"),),
            "s",
        ),
    ),
)

_TRAFFIC: Final = Row(
    "Traffic",
    (
        Panel("Predictions", (Query(_rate("requests_total", chosen=_PREDICTIONS), _NAMED),), "reqps"),
        Panel(
            "Predictions that fail",
            (
                Query(
                    _rate("requests_total", f"{_EACH}, code, reason", f'{_PREDICTIONS}, code=~"4..|5.."'),
                    f"{_NAMED} {{{{code}}}} {{{{reason}}}}",
                ),
            ),
            "reqps",
        ),
        Panel(
            "Not computed",
            (Query(_rate("shed_total", f"{_EACH}, reason"), f"{_NAMED} {{{{reason}}}}"),),
            "reqps",
        ),
        Panel(
            "In flight and waiting",
            (
                Query(_sum("requests_in_flight"), f"in flight, {_NAMED}"),
                Query(_sum("queue_requests"), f"waiting, {_NAMED}"),
            ),
        ),
        Panel(
            "Least wait in the queue",
            (Query(f"max by ({_EACH}) (slipway_runtime_queue_wait_min_seconds{{{_CHOSEN}}})", _NAMED),),
            "s",
            text="Of the last 5 seconds, in the pod where it is longest. Above 0: a queue that never empties.",
        ),
        Panel(
            "Clients that left",
            (Query(_rate("client_disconnects_total", f"{_EACH}, stage"), f"{_NAMED} {{{{stage}}}}"),),
            "reqps",
        ),
    ),
)

_BATCHES: Final = Row(
    "Batches",
    (
        Panel("Rows of a batch, half", (Query(_quantile("0.5", "batch_rows"), _NAMED),)),
        Panel("How full", (Query(_quantile("0.5", "batch_fill_ratio"), _NAMED),), "percentunit"),
        Panel("Time of a batch, p95", (Query(_quantile("0.95", "batch_duration_seconds"), _NAMED),), "s"),
        Panel(
            "Why they were closed",
            (Query(_rate("batch_close_total", f"{_EACH}, reason"), f"{_NAMED} {{{{reason}}}}"),),
            "ops",
        ),
    ),
)

_PODS: Final = Row(
    "Pods",
    (
        Panel(
            "Memory of the limit",
            (
                Query(
                    f"slipway_runtime_cgroup_memory_bytes{{{_CHOSEN}}}"
                    f" / slipway_runtime_cgroup_memory_limit_bytes{{{_CHOSEN}}}",
                    "{{pod}}",
                ),
            ),
            "percentunit",
        ),
        Panel("Held back by the CPU limit", (Query(_rate("cpu_throttled_seconds_total", "pod"), "{{pod}}"),), "s"),
        Panel(
            "Busy workers",
            (Query(_rate("worker_busy_seconds_total", "pod, worker"), "{{pod}} {{worker}}"),),
            "percentunit",
        ),
        Panel(
            "Worker restarts",
            (Query(_rate("worker_restarts_total", f"{_EACH}, cause"), f"{_NAMED} {{{{cause}}}}"),),
            "ops",
        ),
        Panel(
            "GPU",
            (Query(f"slipway_runtime_gpu_utilization_ratio{{{_CHOSEN}}}", "{{pod}} {{gpu}}"),),
            "percentunit",
        ),
        Panel(
            "GPU memory",
            (
                Query(
                    f"slipway_runtime_gpu_memory_used_bytes{{{_CHOSEN}}}"
                    f" / slipway_runtime_gpu_memory_total_bytes{{{_CHOSEN}}}",
                    "{{pod}} {{gpu}}",
                ),
            ),
            "percentunit",
        ),
    ),
)

DASHBOARD: Final = Dashboard(
    "slipway-models",
    "Slipway / Models",
    (
        Variable("namespace", "slipway_operator_modeldeployment_info", "namespace"),
        Variable(
            "modeldeployment",
            'slipway_operator_modeldeployment_info{namespace=~"$namespace"}',
            "modeldeployment",
        ),
    ),
    (_STATE, _TARGETS, _TRAFFIC, _BATCHES, _PODS),
)
