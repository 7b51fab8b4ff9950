"""The way in from outside is asked over real sockets, as a client would."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from slipway_operator import asking
from slipway_operator.cache import Cache
from slipway_operator.listeners import Way
from slipway_operator.resources import Key
from slipway_operator.route_inquiries import RouteInquirer
from slipway_operator.route_verification import RouteQuestion, RouteVerdict
from slipway_runtime.contract import REVISION_HEADER
from tests.unit.op.answering import answering
from tests.unit.op.observations import KEY, model
from tests.unit.rt.certificates import write_pair

pytestmark = pytest.mark.unit

Answer = Callable[[web.Request], Awaitable[web.Response]]
MINE: Final = frozenset({"rev"})


class Asked:
    """An inquirer at work, and who was woken by it."""

    def __init__(self) -> None:
        self.cache = Cache()
        self.cache.put_model(model())
        self.woken: list[Key] = []
        self.inquirer = RouteInquirer(self.cache, self.woken.append)

    @property
    def verdict(self) -> RouteVerdict | None:
        return self.cache.memory(self.cache.models[KEY]).route_verdict

    async def told(self, seconds: float = 5.0) -> RouteVerdict:
        """Once somebody was woken."""
        async with asyncio.timeout(seconds):
            while not self.woken:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.01)
        assert self.verdict is not None
        return self.verdict


@asynccontextmanager
async def at_work() -> AsyncIterator[Asked]:
    asked = Asked()
    work = asyncio.create_task(asked.inquirer.work())
    yield asked
    await asked.inquirer.close()
    await work


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "RETRY_BASE_SECONDS", 0.005)
    monkeypatch.setattr(asking, "CONNECT_SECONDS", 0.5)


def answers(status: int, revision: str | None) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={REVISION_HEADER: revision} if revision else {})

    return answer


def test_the_first_way_that_leads_to_the_model_wins_and_is_asked_by_its_host() -> None:
    seen: list[tuple[str, str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.method, request.host, request.path))
        return web.Response(headers={REVISION_HEADER: "rev"})

    async def scenario() -> None:
        async with answering(answers(404, None)) as stranger, answering(answer) as own, at_work() as asked:
            ways = tuple(Way(f"http://digits.example.com:{port}/models/", "127.0.0.1") for port in (stranger, own))
            asked.inquirer.want(KEY, RouteQuestion(ways, 1.0, MINE))
            assert (await asked.told()).url == ways[1].url
            await asyncio.sleep(0.05)
            assert seen == [("POST", f"digits.example.com:{own}", "/models/slipway/verify")]

    asyncio.run(scenario())


def test_tls_is_asked_for_by_the_host_name_and_any_certificate_will_do(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, 1)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    named: list[str | None] = []
    tls.sni_callback = lambda _connection, name, _context: named.append(name)

    async def scenario() -> None:
        async with answering(answers(401, "rev"), tls) as port, at_work() as asked:
            way = Way(f"https://digits.example.com:{port}/", "127.0.0.1")
            asked.inquirer.want(KEY, RouteQuestion((way,), 1.0, MINE))
            assert (await asked.told()).url == way.url

    asyncio.run(scenario())
    assert named == ["digits.example.com"]


def test_where_another_model_answers_it_is_told_after_a_few_attempts_and_the_end_at_once() -> None:
    revision = "stranger"

    async def answer(request: web.Request) -> web.Response:
        return web.Response(headers={REVISION_HEADER: revision})

    async def scenario() -> None:
        nonlocal revision
        async with answering(answer) as port, at_work() as asked:
            question = RouteQuestion((Way(f"http://127.0.0.1:{port}/", "127.0.0.1"),), 1.0, MINE)
            asked.inquirer.want(KEY, question)
            told = await asked.told()
            assert told.url is None
            assert "another model, whose revision is stranger" in told.message
            # The same question with the pods of a rollout: their answer counts without asking anew.
            revision = "next"
            asked.inquirer.want(KEY, RouteQuestion(question.ways, 1.0, frozenset({"rev", "next"})))
            asked.woken.clear()
            assert (await asked.told()).url is not None

    asyncio.run(scenario())


def test_other_words_are_told_once_they_are_steady() -> None:
    statuses = [502] * asking.PATIENCE + [503, 502, 404, 404]
    asked_for = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal asked_for
        asked_for += 1
        return web.Response(status=statuses[min(asked_for, len(statuses)) - 1])

    async def scenario() -> None:
        async with answering(answer) as port, at_work() as asked:
            asked.inquirer.want(KEY, RouteQuestion((Way(f"http://127.0.0.1:{port}/", "127.0.0.1"),), 1.0, MINE))
            assert "answered 502" in (await asked.told()).message
            asked.woken.clear()
            assert "answered 404" in (await asked.told()).message
            assert asked_for == len(statuses)

    asyncio.run(scenario())


def test_where_nothing_listens_and_where_nothing_comes_is_told_in_words() -> None:
    async def hang(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async def scenario() -> None:
        async with answering(hang) as port, at_work() as asked:
            ways = (
                Way("http://digits.example.com:1/", "127.0.0.1"),
                Way(f"http://127.0.0.1:{port}/", "127.0.0.1"),
            )
            asked.inquirer.want(KEY, RouteQuestion(ways, 0.05, MINE))
            told = await asked.told()
            assert "digits.example.com:1/ at 127.0.0.1 gives no answer: Connect" in told.message
            assert "nothing came within" in told.message

    asyncio.run(scenario())
