"""Services and pods are asked over real sockets: what they answer, what they do not, and how often."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from slipway_operator import asking, inquiries
from slipway_operator.asking import PATIENCE
from slipway_operator.cache import Cache, Memory
from slipway_operator.inquiries import Inquirer
from slipway_operator.metrics import Metrics
from slipway_operator.resources import Key
from slipway_operator.verification import Example, Look, Question
from slipway_runtime.contract import REVISION_HEADER, RuntimeStatus, Stage
from tests.unit.op.answering import answering
from tests.unit.op.observations import KEY, model
from tests.unit.rt.certificates import write_pair

pytestmark = pytest.mark.unit

Answer = Callable[[web.Request], Awaitable[web.Response]]
OWN: Final = {REVISION_HEADER: "rev"}
SERVING: Final = RuntimeStatus(revision="rev", stage=Stage.SERVE, digest="sha256:1")


def played(scene: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that needs an event loop."""

    @functools.wraps(scene)
    def play() -> None:
        asyncio.run(scene())

    return play


class Asked:
    """An inquirer at work, and who was woken by it."""

    def __init__(self) -> None:
        self.cache = Cache()
        self.cache.put_model(model())
        self.metrics = Metrics()
        self.woken: list[Key] = []
        self.inquirer = Inquirer(self.cache, self.metrics, self.woken.append)

    @property
    def memory(self) -> Memory:
        return self.cache.memory(self.cache.models[KEY])

    async def until(self, holds: Callable[[], bool], seconds: float = 5.0) -> None:
        async with asyncio.timeout(seconds):
            while not holds():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.01)


@asynccontextmanager
async def at_work(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Asked, str]]:
    async with answering(answer, tls) as port:
        asked = Asked()
        work = asyncio.create_task(asked.inquirer.work())
        try:
            yield asked, f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        finally:
            await asked.inquirer.close()
            await work


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "RETRY_BASE_SECONDS", 0.005)
    monkeypatch.setattr(inquiries, "LOOK_PERIOD_SECONDS", 0.02)
    monkeypatch.setattr(asking, "CONNECT_SECONDS", 0.5)


def question(base: str, revision: str = "rev") -> Question:
    return Question(f"{base}/slipway/verify", revision, "svc", 1.0)


def answers(status: int, text: str = "", headers: Any = OWN) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=text, headers=headers)

    return answer


@played
async def test_a_prediction_is_asked_once() -> None:
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        return web.Response(text=SERVING.to_json(), headers=OWN)

    async with at_work(answer) as (asked, base):
        asked.inquirer.want(KEY, question(base))
        asked.inquirer.want(KEY, question(base))
        await asked.until(lambda: bool(asked.woken))
        await asyncio.sleep(0.1)
        assert asked.memory.verdict is not None
        assert asked.memory.verdict.holds
        assert asked.memory.verdict.facts == SERVING
        assert asked.woken == [KEY]
        assert [(request.method, request.path) for request in seen] == [("POST", "/slipway/verify")]
        assert "authorization" not in {name.lower() for name in seen[0].headers}


@played
async def test_what_the_spec_says_is_sent_to_a_server_of_another_kind() -> None:
    seen: list[tuple[str, str, bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.path, request.content_type, await request.read()))
        return web.json_response({"label": 7}, status=201)

    async with at_work(answer) as (asked, base):
        example = Example("/predict", '{"pixels": "ä"}', "application/json")
        asked.inquirer.want(KEY, Question(f"{base}/predict", "rev", "svc", 1.0, example))
        await asked.until(lambda: bool(asked.woken))
        assert asked.memory.verdict is not None
        assert asked.memory.verdict.holds
        assert seen == [("/predict", "application/json", '{"pixels": "ä"}'.encode())]


@played
async def test_a_failure_is_told_after_a_few_attempts_and_its_end_at_once() -> None:
    count = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        if count < 8:
            return web.json_response({"error": f"broken, request {count}"}, status=500, headers=OWN)
        return web.Response(text=SERVING.to_json(), headers=OWN)

    async with at_work(answer) as (asked, base):
        asked.inquirer.want(KEY, question(base))
        await asked.until(lambda: bool(asked.woken))
        told = asked.memory.verdict
        assert told is not None
        assert told.reason == "PredictionFailed"
        assert told.message.endswith(f"broken, request {PATIENCE}")
        await asked.until(lambda: asked.memory.verdict is not None and asked.memory.verdict.holds)
        # Once for the failure, whose words stand while it lasts, and once for its end.
        assert asked.woken == [KEY, KEY]
        assert 'verifications_total{result="PredictionFailed"} 7.0' in asked.metrics.text().decode()


@played
async def test_where_nothing_listens_the_systems_words_are_told() -> None:
    async with at_work(answers(200)) as (asked, _):
        asked.inquirer.want(KEY, question("http://127.0.0.1:1"))
        await asked.until(lambda: bool(asked.woken))
        assert asked.memory.verdict is not None
        assert asked.memory.verdict.reason == "ServiceUnreachable"
        assert "Connection refused" in asked.memory.verdict.message or "Connect call failed" in (
            asked.memory.verdict.message
        )


@played
async def test_a_server_that_hangs_is_given_up() -> None:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with at_work(answer) as (asked, base):
        asked.inquirer.want(KEY, Question(f"{base}/slipway/verify", "rev", "svc", 0.05))
        await asked.until(lambda: bool(asked.woken))
        assert asked.memory.verdict is not None
        assert "nothing came within" in asked.memory.verdict.message


@played
async def test_what_is_no_longer_wanted_is_not_told() -> None:
    gate = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        await gate.wait()
        return web.Response(text=SERVING.to_json(), headers=OWN)

    async with at_work(answer) as (asked, base):
        asked.inquirer.want(KEY, question(base))
        await asyncio.sleep(0.05)
        asked.inquirer.want(KEY, None)
        gate.set()
        await asyncio.sleep(0.1)
        assert asked.woken == []
        assert asked.memory.verdict is None


@played
async def test_progress_wakes_nobody_while_its_steps_are_the_same() -> None:
    received = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal received
        received += 10
        status = RuntimeStatus(revision="rev", stage=Stage.FETCH, fetched_bytes=received, artifact_bytes=1000)
        return web.Response(text=status.to_json())

    async with at_work(answer) as (asked, base):
        asked.inquirer.want(KEY, Look(f"{base}/statusz", "rev"))
        await asked.until(lambda: received >= 200)
        asked.inquirer.want(KEY, None)
        # Twenty answers, four steps of 50 and the first one.
        assert len(asked.woken) <= 5
        assert asked.memory.progress is not None


@played
async def test_a_pod_that_tells_nothing_is_asked_less_and_less() -> None:
    count = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        return web.Response(status=404)

    async with at_work(answer) as (asked, base):
        asked.inquirer.want(KEY, Look(f"{base}/statusz", "rev"))
        await asyncio.sleep(0.5)
        assert 3 <= count <= 8
        assert asked.woken == []


@played
async def test_an_object_that_is_gone_is_forgotten() -> None:
    count = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        return web.Response(status=500, headers=OWN)

    async with at_work(answer) as (asked, base):
        asked.inquirer.want(KEY, question(base))
        await asked.until(lambda: count >= 1)
        asked.cache.remove_model(KEY, model().uid, 99)
        await asyncio.sleep(0.2)
        before = count
        await asyncio.sleep(0.2)
        assert count == before


def test_a_certificate_is_not_checked_as_nothing_secret_is_sent(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, 1)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)

    async def scenario() -> None:
        async with at_work(answers(200, SERVING.to_json()), tls) as (asked, base):
            asked.inquirer.want(KEY, question(base))
            await asked.until(lambda: asked.memory.verdict is not None)
            assert asked.memory.verdict is not None
            assert asked.memory.verdict.holds

    asyncio.run(scenario())
