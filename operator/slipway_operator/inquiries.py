"""Asks Services and pods over the network, beside the passes and never in their way.

One inquiry at a time for each ModelDeployment, a few at a time for all. What comes of it goes into the object's memory,
and the object is looked at again. Nothing secret is sent, so certificates are not checked.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

import aiohttp

from slipway_operator.cache import Cache, Memory
from slipway_operator.metrics import Metrics
from slipway_operator.names import COMPONENT
from slipway_operator.resources import Key
from slipway_operator.verification import (
    Inquiry,
    Look,
    Question,
    Verdict,
    artifact_status,
    judge_answer,
    no_answer,
)
from slipway_operator.workqueue import WorkQueue
from slipway_runtime.contract import REVISION_HEADER, RuntimeStatus

WORKERS: Final = 16
CONNECT_SECONDS: Final = 3.0
LOOK_SECONDS: Final = 3.0
LOOK_PERIOD_SECONDS: Final = 10.0
RETRY_BASE_SECONDS: Final = 0.5
RETRY_LIMIT_SECONDS: Final = 60.0
PATIENCE: Final = 4
"""Attempts in a row before a failure is told: endpoints follow a pod's readiness within a second or two."""
BODY_LIMIT_BYTES: Final = 64 * 1024


class Inquirer:
    """`wake` has an object looked at again. `work` asks; as many run as inquiries may be under way at a time."""

    def __init__(self, cache: Cache, metrics: Metrics, wake: Callable[[Key], None]) -> None:
        self._cache = cache
        self._metrics = metrics
        self._wake = wake
        self._wanted: dict[Key, Inquiry] = {}
        self._attempts: dict[Key, int] = {}
        self._due: WorkQueue[Key] = WorkQueue()
        self._session: aiohttp.ClientSession | None = None

    def want(self, key: Key, inquiry: Inquiry | None) -> None:
        """In place of what was to be asked for this object. The same again changes nothing."""
        if inquiry == self._wanted.get(key):
            return
        self._due.forget(key)
        self._attempts.pop(key, None)
        if inquiry is None:
            self._wanted.pop(key, None)
            return
        self._wanted[key] = inquiry
        if isinstance(inquiry, Question):
            self._due.add(key)
        else:
            # A small artifact is there before anybody could look.
            self._due.add_after(key, LOOK_PERIOD_SECONDS / 2)

    async def work(self) -> None:
        """Until closed."""
        while (key := await self._due.get()) is not None:
            try:
                await self._inquire(key)
            finally:
                self._due.done(key)

    async def close(self) -> None:
        self._due.close()
        if self._session is not None:
            await self._session.close()

    async def _inquire(self, key: Key) -> None:
        inquiry, model = self._wanted.get(key), self._cache.models.get(key)
        if inquiry is None or model is None:
            self.want(key, None)
            return
        memory = self._cache.memory(model)
        if isinstance(inquiry, Question):
            verdict = await self._ask(inquiry)
            if self._wanted.get(key) == inquiry:
                self._judge(key, memory, verdict)
        else:
            told = await self._look(inquiry)
            if self._wanted.get(key) == inquiry:
                self._note(key, memory, told)

    def _judge(self, key: Key, memory: Memory, verdict: Verdict) -> None:
        self._metrics.verifications.labels("success" if verdict.holds else verdict.reason).inc()
        if verdict.holds:
            self._tell(key, memory, verdict)
            return
        attempts = self._again(key)
        known = memory.verdict
        same = known is not None and (known.question, known.reason) == (verdict.question, verdict.reason)
        # The first words stand: later ones differ in request numbers and ports, and say the same.
        if attempts >= PATIENCE and not same:
            self._tell(key, memory, verdict)

    def _tell(self, key: Key, memory: Memory, verdict: Verdict) -> None:
        memory.verdict = verdict
        self._wake(key)

    def _note(self, key: Key, memory: Memory, told: RuntimeStatus | None) -> None:
        if told is None:
            self._again(key)
            return
        self._attempts.pop(key, None)
        self._due.add_after(key, LOOK_PERIOD_SECONDS)
        before = memory.progress
        memory.progress = told
        # Compared as the status would show it, so that a download wakes nobody with every byte.
        if before is None or _shown(before) != _shown(told):
            self._wake(key)

    def _again(self, key: Key) -> int:
        """Later with each attempt in a row. Returns their number."""
        attempts = self._attempts[key] = self._attempts.get(key, 0) + 1
        self._due.add_after(key, min(RETRY_BASE_SECONDS * 2 ** min(attempts, 20), RETRY_LIMIT_SECONDS))
        return attempts

    async def _ask(self, question: Question) -> Verdict:
        timeout = aiohttp.ClientTimeout(total=question.timeout_seconds + CONNECT_SECONDS, sock_connect=CONNECT_SECONDS)
        try:
            async with self._client().post(question.url, timeout=timeout, allow_redirects=False) as answer:
                body = await answer.content.read(BODY_LIMIT_BYTES)
                words = body.decode(errors="replace")
                if answer.status != 200:
                    words = _error_in(words)
                return judge_answer(question, answer.status, answer.headers.get(REVISION_HEADER), words)
        except TimeoutError:
            return no_answer(question, f"nothing came within {timeout.total:.0f} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return no_answer(question, _reason_of(error))

    async def _look(self, look: Look) -> RuntimeStatus | None:
        """None: the pod is gone, has not begun to listen, or its image tells nothing."""
        timeout = aiohttp.ClientTimeout(total=LOOK_SECONDS)
        try:
            async with self._client().get(look.url, timeout=timeout, allow_redirects=False) as answer:
                if answer.status != 200:
                    return None
                return RuntimeStatus.model_validate_json(await answer.content.read(BODY_LIMIT_BYTES))
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
            return None

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            # A connection of its own for each inquiry: one that is kept would lead to the same pod again.
            connector = aiohttp.TCPConnector(limit=WORKERS, force_close=True, ssl=False)
            self._session = aiohttp.ClientSession(connector=connector, headers={"User-Agent": COMPONENT})
        return self._session


def _shown(told: RuntimeStatus) -> tuple[str, dict[str, object]]:
    return str(told.stage), artifact_status(told, told.revision, {})


def _error_in(text: str) -> str:
    """The sentence in a server's JSON error, without its request number; else the text itself."""
    try:
        content = json.loads(text)
    except ValueError:
        return text
    error = content.get("error") if isinstance(content, dict) else None
    return error if isinstance(error, str) else text


def _reason_of(error: Exception) -> str:
    """The system's words, without the address that is told already."""
    cause = getattr(error, "os_error", None) or error
    return (getattr(cause, "strerror", None) or str(cause) or type(error).__name__).rstrip(".")
