"""The operator's dashboard. Pure data; `$namespace` is where operators run."""

from __future__ import annotations

from typing import Final

from slipway_operator.tools.dashboards import Dashboard, Panel, Query, Row, Variable, quantile, rate

_OWN: Final = 'namespace=~"$namespace"'
_PROCESS: Final = f"and on (namespace, pod) slipway_operator_build_info{{{_OWN}}}"


def _now(metric: str, by: str) -> str:
    return f"max by ({by}) (slipway_operator_{metric}{{{_OWN}}})"


def _rate(metric: str, by: str, chosen: str = "") -> str:
    return rate(f"slipway_operator_{metric}", by, _OWN + chosen)


def _quantiles(metric: str) -> tuple[Query, ...]:
    shares = (("0.5", "half"), ("0.99", "99 of 100"))
    return tuple(Query(quantile(share, f"slipway_operator_{metric}", "", _OWN), legend) for share, legend in shares)


_MODELS: Final = Row(
    "ModelDeployments",
    (
        Panel(
            "Ready",
            (Query('sum(max by (reason) (slipway_operator_modeldeployments{condition="Ready", status="True"}))'),),
            kind="stat",
        ),
        Panel(
            "Not Ready, by reason",
            (
                Query(
                    'max by (reason) (slipway_operator_modeldeployments{condition="Ready", status!="True"})',
                    "{{reason}}",
                ),
            ),
        ),
        Panel("Time to Ready", _quantiles("time_to_ready_seconds"), "s"),
        Panel(
            "Children put back",
            (Query(_rate("repairs_total", "kind, cause"), "{{kind}}, {{cause}}"),),
            "ops",
            text="A steady rate: another writer, such as an autoscaler, acts on a child. The log names it.",
        ),
    ),
)

_WORK: Final = Row(
    "Work",
    (
        Panel(
            "Passes",
            (
                Query(_rate("reconcile_duration_seconds_count", "result"), "{{result}}"),
                Query(_rate("reconcile_errors_total", "class"), "error: {{class}}"),
            ),
            "ops",
        ),
        Panel("Time of a pass", _quantiles("reconcile_duration_seconds"), "s"),
        Panel(
            "Queue",
            (
                Query(_now("queue_depth", "pod"), "waiting, {{pod}}"),
                Query(_now("reconcile_running", "pod"), "under way, {{pod}}"),
            ),
        ),
        Panel(
            "Wait in the queue",
            (
                *_quantiles("queue_latency_seconds"),
                Query(_now("queue_oldest_seconds", "pod"), "oldest, {{pod}}"),
                Query(_now("reconcile_oldest_seconds", "pod"), "longest pass, {{pod}}"),
            ),
            "s",
        ),
    ),
)

_SERVER: Final = Row(
    "API server",
    (
        Panel("Requests", (Query(_rate("api_requests_total", "verb, resource"), "{{verb}} {{resource}}"),), "reqps"),
        Panel(
            "Requests that fail",
            (Query(_rate("api_requests_total", "code, verb", ', code=~"0|4..|5.."'), "{{code}} {{verb}}"),),
            "reqps",
            text="Code 0: no answer. 404 and 409 are part of the work: a name that is free, an event told before.",
        ),
        Panel(
            "Time of a request, 99 of 100",
            (
                Query(
                    quantile("0.99", "slipway_operator_api_request_duration_seconds", "verb", f'{_OWN}, verb!="WATCH"'),
                    "{{verb}}",
                ),
            ),
            "s",
        ),
        Panel(
            "Writes that wait for the limit",
            (Query(_rate("api_throttled_seconds_total", "pod"), "{{pod}}"),),
            text="How many wait on average. operator.writesPerSecond is the limit.",
        ),
    ),
)

_WATCHES: Final = Row(
    "What it hears of the cluster",
    (
        Panel("Changes", (Query(_rate("watch_events_total", "resource, type"), "{{resource}} {{type}}"),), "ops"),
        Panel(
            "Age of the watches",
            (Query(f"time() - {_now('watch_last_opened_timestamp_seconds', 'resource')}", "{{resource}}"),),
            "s",
            text="Each is opened anew every 5 minutes.",
        ),
        Panel(
            "Sweeps",
            (
                Query(_rate("sweep_repairs_total", "resource"), "repaired: {{resource}}"),
                Query(_rate("sweep_failures_total", "pod"), "failed: {{pod}}"),
            ),
            "ops",
        ),
        Panel(
            "Age of the last sweep",
            (Query(f"time() - {_now('sweep_completed_timestamp_seconds', 'pod')}", "{{pod}}"),),
            "s",
        ),
        Panel("Time of a sweep", _quantiles("sweep_duration_seconds"), "s"),
    ),
)

_PROCESSES: Final = Row(
    "Process",
    (
        Panel("Leader", (Query(_now("leader", "pod"), "{{pod}}"),)),
        Panel(
            "CPU",
            (Query(f"sum by (pod) (rate(process_cpu_seconds_total[$__rate_interval]) {_PROCESS})", "{{pod}}"),),
            text="Cores.",
        ),
        Panel("Memory", (Query(f"max by (pod) (process_resident_memory_bytes {_PROCESS})", "{{pod}}"),), "bytes"),
        Panel(
            "Kubernetes events",
            (
                Query(_rate("events_written_total", "type"), "{{type}}"),
                Query(_rate("events_dropped_total", "pod"), "not written, {{pod}}"),
            ),
            "ops",
        ),
    ),
)

DASHBOARD: Final = Dashboard(
    "slipway-operator",
    "Slipway / Operator",
    (Variable("namespace", "slipway_operator_build_info", "namespace"),),
    (_MODELS, _WORK, _SERVER, _WATCHES, _PROCESSES),
)
