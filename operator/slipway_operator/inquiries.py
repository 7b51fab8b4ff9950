"""Asks Services for predictions, and pods how far they have come.

What comes of it goes into the object's memory, and the object is looked at again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from slipway_operator import asking
from slipway_operator.asking import Asker, reason_of
from slipway_operator.cache import Cache, Memory
from slipway_operator.metrics import Metrics
from slipway_operator.resources import Key
from slipway_operator.verification import (
    Inquiry,
    Look,
    Question,
    Verdict,
    artifact_status,
    judge_answer,
    judge_example,
    no_answer,
)
from slipway_runtime.contract import REVISION_HEADER, RuntimeStatus

LOOK_SECONDS: Final = 3.0
LOOK_PERIOD_SECONDS: Final = 10.0
BODY_LIMIT_BYTES: Final = 64 * 1024


class Inquirer(Asker[Inquiry]):
    """What came of a question is the memory's `verdict`, of a look its `progress`."""

    def __init__(self, cache: Cache, metrics: Metrics, wake: Callable[[Key], None]) -> None:
        super().__init__(cache, wake)
        self._metrics = metrics

    def _patience(self, wanted: Inquiry) -> float:
        if isinstance(wanted, Question):
            return asking.CHANGE_SECONDS if wanted.turned else 0.0
        # A small artifact is there before anybody could look.
        return LOOK_PERIOD_SECONDS / 2

    async def _ask_for(self, key: Key, memory: Memory, wanted: Inquiry) -> None:
        if isinstance(wanted, Question):
            verdict = await self._ask(wanted)
            if self._wanted.get(key) == wanted:
                self._judge(key, memory, verdict)
        else:
            told = await self._look(wanted)
            if self._wanted.get(key) == wanted:
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
        if attempts >= asking.PATIENCE and not same:
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

    async def _ask(self, question: Question) -> Verdict:
        timeout = aiohttp.ClientTimeout(
            total=question.timeout_seconds + asking.CONNECT_SECONDS, sock_connect=asking.CONNECT_SECONDS
        )
        try:
            async with self._client().post(
                question.url, timeout=timeout, allow_redirects=False, **_payload(question)
            ) as answer:
                body = await answer.content.read(BODY_LIMIT_BYTES)
                words = body.decode(errors="replace")
                if answer.status != HTTPStatus.OK:
                    words = _error_in(words)
                if question.example is not None:
                    return judge_example(question, question.example.path, answer.status, words)
                return judge_answer(question, answer.status, answer.headers.get(REVISION_HEADER), words)
        except TimeoutError:
            return no_answer(question, f"nothing came within {timeout.total:.0f} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return no_answer(question, reason_of(error))

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


def _payload(question: Question) -> dict[str, Any]:
    if question.example is None:
        return {}
    return {"data": question.example.body.encode(), "headers": {"Content-Type": question.example.content_type}}


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
