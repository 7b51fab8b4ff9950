"""docs/benchmarks.md, written from the results: targets, one table per model, and how it was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks import figures
from benchmarks.figures import Figure, p50, p95, p99, rate
from benchmarks.generator import Outcome
from benchmarks.results import RAW, Cell, Results
from benchmarks.targets import OPEN_LOAD, TARGETS
from benchmarks.workloads import WORKLOADS

NOTHING = "-"


def page(results: Results) -> str:
    """The whole page as Markdown."""
    parts = [
        "# Benchmarks",
        _introduction(results),
        "## Targets",
        targets_table(results),
        *(part for name in WORKLOADS for part in _workload(results, name)),
        *_open_loop(results),
        *_workers(results),
        *_memory(results),
        "## Who took no part",
        absent_table(results),
        "## How it is measured",
        _method(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _introduction(results: Results) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in sorted(results.packages.items()))
    return (
        f"Measured {results.date} by `make bench`{f' at {results.commit}' if results.commit else ''}.\n"
        f"Machine: {results.machine}.\n"
        f"Versions: {packages}.\n"
        f"{results.rounds} interleaved rounds with windows of {results.seconds:g} s; each figure is the median of the\n"
        "rounds, in brackets the lowest and the highest. This page is generated: do not edit it.\n\n"
        "The figures are of this machine and of one run. What lasts is the ratio of two servers in the same round.\n"
        "`by CPU time` is the same ratio of requests per second of the servers' own CPU time: others who use the\n"
        "machine disturb it least."
    )


def targets_table(results: Results) -> str:
    rows = []
    for target in TARGETS:
        found = target.measured(results)
        goal = f"{'≥' if target.at_least else '≤'} {target.goal:g}"
        by_cpu = _plain(target.by_cpu(results), _ratio)
        rows.append([target.what, goal, _spread(found, _ratio), target.verdict(results), by_cpu])
    return table(["what", "goal", "measured", "verdict", "by CPU time"], rows, "lrrlr")


def _workload(results: Results, name: str) -> list[str]:
    wires = [wire for wire in ("binary", "json") if Cell(workload=name, wire=wire).key in results.samples]
    if not wires and name not in results.raw:
        return []
    parts = [f"## {WORKLOADS[name].title}", f"One row per request; {results.placement}."]
    for wire in wires:
        title = "Tensors in binary (Open Inference Protocol)" if wire == "binary" else "Tensors in JSON"
        parts += [f"### {title}: {name}", _comparison(results, name, wire)]
    if name in results.raw:
        parts += [_raw(results, name)]
    return parts


def _comparison(results: Results, workload: str, wire: str) -> str:
    many, alone = Cell(workload=workload, wire=wire), Cell(workload=workload, wire=wire, connections=1)
    servers = [name for name in results.participants if name in results.samples.get(many.key, {})]
    servers.sort(key=lambda name: -_median(figures.of(results, many, name, rate)))
    rows = []
    for name in servers:
        outcomes = [*results.samples[many.key][name], *results.samples.get(alone.key, {}).get(name, [])]
        rows.append(
            [
                _title(results, name),
                _spread(figures.of(results, many, name, rate), _count),
                _plain(figures.of(results, many, name, p50), _milliseconds),
                _plain(figures.of(results, many, name, p99), _milliseconds),
                _plain(figures.of(results, many, name, _cpu), _count),
                _plain(figures.of(results, alone, name, rate), _count),
                _plain(figures.of(results, alone, name, p50), _milliseconds),
                _plain(figures.of(results, alone, name, p99), _milliseconds),
                str(sum(outcome.wrong for outcome in outcomes)),
                str(sum(outcome.refused + outcome.errors for outcome in outcomes)),
            ]
        )
    many_heads = ["requests/s, 64 connections", "p50 ms", "p99 ms", "CPU µs per request"]
    alone_heads = ["requests/s, 1 connection", "p50 ms", "p99 ms"]
    head = ["server", *many_heads, *alone_heads, "wrong answers", "failed"]
    return table(head, rows, "l" + "r" * (len(head) - 1))


def _raw(results: Results, workload: str) -> str:
    rounds = results.raw[workload]
    sizes = list(rounds[0])
    throughput = [_plain(figures.figure([one[size][0] for one in rounds]), _count) for size in sizes]
    latency = [_plain(figures.figure([one[size][1] for one in rounds]), _milliseconds) for size in sizes]
    head = [f"{_title(results, RAW)}, rows in the batch", *map(str, sizes)]
    return table(head, [["rows/s", *throughput], ["ms", *latency]], "l" + "r" * len(sizes))


def _open_loop(results: Results) -> list[str]:
    rows = []
    for key, servers in results.samples.items():
        workload, _, _, arrivals = key.split("/")[:4]
        if arrivals == "closed":
            continue
        cell = Cell.model_validate({"workload": workload, "arrivals": arrivals})
        for name, outcomes in servers.items():
            alone = figures.of(results, Cell(workload=workload, connections=1), name, p50)
            rows.append(
                [
                    _title(results, name),
                    f"{workload}, {arrivals}",
                    _plain(alone, _milliseconds),
                    *(_plain(figures.of(results, cell, name, value), _milliseconds) for value in (p50, p95, p99)),
                    f"{sum(outcome.right for outcome in outcomes):,}",
                    str(sum(outcome.refused for outcome in outcomes)),
                    str(sum(outcome.wrong + outcome.errors for outcome in outcomes)),
                ]
            )
    if not rows:
        return []
    head = [
        "server",
        "arrivals",
        "lone request p50 ms",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "answered",
        "refused",
        "wrong or failed",
    ]
    text = (
        f"Requests are sent when they are due, at {OPEN_LOAD:.0%} of what the same server answered with 64\n"
        "connections, and latency counts from that time. `paced` is evenly spaced. With `poisson` and `bursty`\n"
        "arrivals requests meet in the queue: one executor that computes row after row and is busy 60 % of the\n"
        "time has a p95 of about three times a lone request's, whatever it does. Only batches that cost less than\n"
        "their rows alone bring it down."
    )
    return ["## Open loop", text, table(head, rows, "llrrrrrrr")]


def _workers(results: Results) -> list[str]:
    rows = []
    for key, servers in results.samples.items():
        if "/workers-" not in key:
            continue
        workload, wire, connections, _, workers = key.split("/")
        for outcomes in servers.values():
            found = figures.figure([rate(outcome) for outcome in outcomes])
            what = f"{workload}, {wire}, {connections} connections"
            rows.append([what, workers.removeprefix("workers-"), _spread(found, _count)])
    if not rows:
        return []
    for workload, pairs in results.raw_pairs.items():
        for number in (0, 1):
            found = figures.figure([pair[number] for pair in pairs])
            rows.append([f"{workload}, {_title(results, RAW)}", str(number + 1), _spread(found, _count)])
    text = "Server and generator share all cores; one thread per worker."
    scaling = {workload: figures.raw_scaling(results, workload) for workload in results.raw_pairs}
    if scaling:
        told = ", ".join(f"{_spread(found, _ratio)} times one ({workload})" for workload, found in scaling.items())
        text += (
            "\nWhat the machine itself can gain is seen beside it: two processes of torch without a server or a"
            f"\ngenerator, at their best batch size, make {told}."
        )
    return ["## Workers", text, table(["what", "workers", "requests/s"], rows, "lrr")]


def _memory(results: Results) -> list[str]:
    parts = []
    if results.memory:
        rows = [
            [
                _title(results, name),
                _mebibytes(found.own_bytes),
                _mebibytes(found.resident_bytes),
                str(found.processes),
                f"{found.ready_seconds:.1f}",
            ]
            for name, found in sorted(results.memory.items(), key=lambda item: item[1].own_bytes)
        ]
        head = ["server", "MiB", "resident MiB", "processes", "seconds to ready"]
        text = (
            "Whole process tree with the MLP after some requests, each server alone on the machine. The first\n"
            "figure counts every page once, the resident one counts a shared page with each process."
        )
        parts += ["## Memory", text, table(head, rows, "lrrrr")]
    if results.growth:
        steps = [f"{count:,}" for count in results.growth.requests]
        sizes = [_mebibytes(size) for size in results.growth.own_bytes]
        parts.append(table(["requests answered", *steps], [["MiB", *sizes]], "l" + "r" * len(steps)))
    return parts


def absent_table(results: Results) -> str:
    rows = [
        [_title(results, name), workload, reason.replace("|", "\\|")[:300]]
        for name, reasons in results.absent.items()
        for workload, reason in reasons.items()
    ]
    return table(["server", "workload", "reason"], rows, "lll") if rows else "All that were asked took part."


def _method(results: Results) -> str:
    generator = results.generator_requests_per_second
    ability = f"{_count(generator)} requests/s against a trivial server" if generator else "not measured in this run"
    busy = figures.figure(results.background_busy)
    lines = [
        f"- Placement: {results.placement}, by `taskset`. Servers are given as many threads as they have cores.",
        "- All servers of a model are started once, answer every input right once, and stand still (SIGSTOP) while"
        " another is loaded. Rounds go through all of them in a changing order.",
        "- Each has its own virtual environment with pinned versions over one torch, and loads the same TorchScript.",
        "- The generator (benchmarks/loadgen) keeps connections open, sends prebuilt bodies of eight different inputs"
        " in turn and compares every number of every answer with the eager module's."
        f" By itself it does {ability} on one core.",
        "- Latencies are of right answers, 64 connections in a closed loop: each sends again when it is answered.",
        "- A model server does work that a floor does not: the floors without a model look the answer up.",
        f"- Other processes took {busy.median:.0%} of the machine's CPU time between measurements"
        f" ({busy.lowest:.0%} to {busy.highest:.0%})."
        if busy
        else "",
        *(f"- {found.title}: {found.note}" for found in results.participants.values() if found.note),
        "- Not measured: GPUs, several machines, TLS, gRPC, streams.",
    ]
    return "\n".join(line for line in lines if line)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], alignment: str) -> str:
    """Markdown; `alignment` has l or r for each column."""
    rule = "|".join("---:" if letter == "r" else "---" for letter in alignment)
    lines = [" | ".join(head), *(" | ".join(row) for row in rows)]
    return "\n".join([f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])])


def _cpu(outcome: Outcome) -> float:
    return outcome.cpu_microseconds


def _title(results: Results, name: str) -> str:
    found = results.participants.get(name)
    if found is None:
        return name
    title = f"{found.title} {found.version}".strip()
    return f"**{title}**" if found.role == "subject" else title


def _spread(found: Figure | None, write: Callable[[float], str]) -> str:
    if found is None:
        return NOTHING
    if found.lowest == found.highest:
        return write(found.median)
    return f"{write(found.median)} ({write(found.lowest)} … {write(found.highest)})"


def _plain(found: Figure | None, write: Callable[[float], str]) -> str:
    return NOTHING if found is None else write(found.median)


def _median(found: Figure | None) -> float:
    return 0.0 if found is None else found.median


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _milliseconds(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _mebibytes(value: float) -> str:
    return f"{value / 2**20:.0f}"
