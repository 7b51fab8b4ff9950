"""Some seeds at a time: a namespace with its own schedule for each, and faults that all of them share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from slipway_operator.clock import utc_now
from slipway_operator.plan import Policy
from slipway_operator.render.manifest import RenderSettings
from slipway_operator.resources import MODEL
from tests.chaos.acts import Actor, Book
from tests.chaos.audit import Account, AuditLog, deeds, judge, trail
from tests.chaos.faults import Faults, faults
from tests.chaos.schedule import schedule
from tests.chaos.verdict import Sight, abandoned, differing, harmed, look, place, unsettled
from tests.fixtures.apiserver import NAMESPACE, ApiServer
from tests.fixtures.operator import RUNTIME_IMAGE

GROUP: Final = 10
"""Seeds that share their faults; a seed is replayed with those beside it."""
SECONDS: Final = 10.0
"""Of disorder."""
STEADY_SECONDS: Final = 90.0
SETTLE_SECONDS: Final = 120.0
"""No more than this may pass until everything is right again: what the longest back-off of a lost connection takes."""
COLLECTOR_SECONDS: Final = 45.0
"""What the garbage collector has not taken by then it takes no more."""
_POLL_SECONDS: Final = 1.0

POLICY: Final = Policy(RenderSettings(runtime_image=RUNTIME_IMAGE), frozenset({"s3", "https", "http"}))


@dataclass
class Outcome:
    """Of one seed."""

    seed: int
    book: Book
    faults: list[str] = field(default_factory=list)
    settled_seconds: float = 0.0
    account: Account = field(default_factory=Account)
    trail: list[str] = field(default_factory=list)
    """Who made, changed and deleted the objects that something is wrong with."""

    @property
    def passed(self) -> bool:
        return not self.book.violations

    def text(self) -> str:
        lines = [f'seed {self.seed} FAILED; replay: make chaos ARGS="--seed {self.seed}"']
        for title, texts in (
            ("what is wrong", self.book.violations),
            ("what was done", sorted([*self.book.told, *self.faults])),
            ("what the API server tells of it", self.trail),
        ):
            lines += [f"  {title}:", *(f"    {text}" for text in texts)]
        return "\n".join(lines)


def groups(first: int, count: int) -> list[list[int]]:
    """Every group that holds one of the seeds, whole."""
    numbers = range(first // GROUP, (first + count - 1) // GROUP + 1)
    return [list(range(number * GROUP, (number + 1) * GROUP)) for number in numbers]


async def run_group(
    api: ApiServer, audit: AuditLog, disorder: Faults, seeds: list[int], seconds: float, tell: Callable[[str], None]
) -> list[Outcome]:
    """Order, disorder, order; then the verdict."""
    books = [Book(f"chaos-{seed}", seed) for seed in seeds]
    disorder.told.clear()
    await asyncio.gather(*(_prepare(api, book) for book in books))
    tell(f"seeds {seeds[0]} to {seeds[-1]}: the untouched models serve")
    begin = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        for book in books:
            group.create_task(Actor(api, book).follow(schedule(book.seed, seconds), begin))
        group.create_task(disorder.follow(faults(seeds[0] // GROUP, seconds), begin))
    await disorder.heal()
    collector = asyncio.create_task(_help_the_collector(api, disorder, books))
    settled = await asyncio.gather(*(_settle(api, book) for book in books))
    collector.cancel()
    await _still(api, books)
    judged = await _judge(api, audit, books)
    await api.delete_namespaces([book.namespace for book in books])
    told = list(disorder.told)
    return [
        Outcome(book.seed, book, told, seconds, *verdict)
        for book, seconds, verdict in zip(books, settled, judged, strict=True)
    ]


async def _prepare(api: ApiServer, book: Book) -> None:
    await api.create(NAMESPACE, None, {"metadata": {"name": book.namespace}})
    await Actor(api, book).prepare()
    deadline = time.monotonic() + STEADY_SECONDS
    while not (sight := await look(api, book.namespace)).models or not _serves(sight):
        if time.monotonic() > deadline:
            book.blame(f"the untouched model does not serve after {STEADY_SECONDS:.0f} s")
            return
        await asyncio.sleep(_POLL_SECONDS)
    kept = [item for item in sight.children if item["metadata"].get("ownerReferences")]
    book.steady = {place(item): item for item in [*kept, *sight.pods]}


def _serves(sight: Sight) -> bool:
    """And nothing is left to be done for it."""
    return sight.models[0].get("status", {}).get("replicaSummary") == "2/2" and not unsettled(sight, POLICY, utc_now())


async def _settle(api: ApiServer, book: Book) -> float:
    """Seconds until all was right; what was not is put into the book."""
    began = time.monotonic()
    while True:
        sight = await look(api, book.namespace)
        problems = unsettled(sight, POLICY, utc_now())
        if not problems:
            # A controller may have written in between: what differs then is looked at anew as well.
            problems = await differing(api, sight, POLICY, utc_now())
        if not problems:
            break
        if time.monotonic() - began > SETTLE_SECONDS:
            book.violations += [f"not right after {SETTLE_SECONDS:.0f} s: {text}" for text in problems]
            break
        await asyncio.sleep(_POLL_SECONDS)
    book.violations += harmed(sight, book)
    return time.monotonic() - began


async def _help_the_collector(api: ApiServer, disorder: Faults, books: list[Book]) -> None:
    await asyncio.sleep(COLLECTOR_SECONDS)
    for book in books:
        if abandoned(await look(api, book.namespace)):
            await disorder.restart_collector()
            return


async def _still(api: ApiServer, books: list[Book]) -> None:
    """What is right stays as it is: not one write comes after the end."""
    before = {book.namespace: await _versions(api, book.namespace) for book in books}
    await asyncio.sleep(2 * _POLL_SECONDS)
    for book in books:
        now = await _versions(api, book.namespace)
        moved = [name for name, version in now.items() if before[book.namespace].get(name) != version]
        if moved:
            book.blame(f"still written after all was right: {', '.join(moved)}")


async def _judge(api: ApiServer, audit: AuditLog, books: list[Book]) -> list[tuple[Account, list[str]]]:
    """By all that was asked of the API server since the namespaces were made; and what it was for those that failed."""
    live = {book.namespace: (await look(api, book.namespace)).children for book in books}
    told = deeds(await asyncio.to_thread(audit.read))
    found = []
    for book in books:
        account = judge(told.get(book.namespace, []), live[book.namespace], book.needless)
        book.violations += account.violations
        found.append((account, trail(told.get(book.namespace, []), book.violations)))
    return found


async def _versions(api: ApiServer, namespace: str) -> dict[str, str]:
    return {
        model["metadata"]["name"]: model["metadata"]["resourceVersion"] for model in await api.list(MODEL, namespace)
    }
