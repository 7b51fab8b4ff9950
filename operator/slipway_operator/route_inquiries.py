"""Asks for a prediction through the way in from outside, by its host and at its controller's address."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp

from slipway_operator import asking
from slipway_operator.asking import Asker, reason_of
from slipway_operator.cache import Cache, Memory
from slipway_operator.listeners import Way
from slipway_operator.resources import Key
from slipway_operator.route_verification import RouteQuestion, RouteVerdict, complaint, no_answer_by, request_by
from slipway_runtime.contract import REVISION_HEADER


class RouteInquirer(Asker[RouteQuestion]):
    """What came of a question is the memory's `route_verdict`."""

    # What mends a route, such as a policy or a certificate, sends no event.
    retry_limit_seconds = 10.0

    def __init__(self, cache: Cache, wake: Callable[[Key], None]) -> None:
        super().__init__(cache, wake)
        self._complaints: dict[Key, str] = {}
        """Of the last attempt."""

    def want(self, key: Key, wanted: RouteQuestion | None) -> None:
        if wanted is None:
            self._complaints.pop(key, None)
        super().want(key, wanted)

    def _patience(self, wanted: RouteQuestion) -> float:
        return asking.CHANGE_SECONDS if wanted.changed else 0.0

    async def _ask_for(self, key: Key, memory: Memory, wanted: RouteQuestion) -> None:
        verdict = await self._ask(wanted)
        if self._wanted.get(key) != wanted:
            return
        known = memory.route_verdict
        if known is not None and known.question != wanted:
            known = None
        if verdict.url is None:
            attempts = self._again(key)
            steady = self._complaints.get(key) == verdict.message
            self._complaints[key] = verdict.message
            # Told words stand until others are steady: what comes in place of an answer may differ each time.
            if attempts < asking.PATIENCE or verdict == known or (not steady and known is not None):
                return
        self._complaints.pop(key, None)
        memory.route_verdict = verdict
        self._wake(key)

    async def _ask(self, question: RouteQuestion) -> RouteVerdict:
        complaints = []
        for way in question.ways:
            found = await self._try(way, question)
            if not found:
                return RouteVerdict(question, way.url)
            complaints.append(found)
        return RouteVerdict(question, None, "; ".join(complaints))

    async def _try(self, way: Way, question: RouteQuestion) -> str:
        """What is wrong with it; empty when it answers. The answer's body is not read."""
        request = request_by(way)
        total = question.timeout_seconds + asking.CONNECT_SECONDS
        timeout = aiohttp.ClientTimeout(total=total, sock_connect=asking.CONNECT_SECONDS)
        try:
            async with self._client().post(
                request.url,
                headers={"Host": request.host},
                server_hostname=request.server_name,
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                return complaint(way, question, answer.status, answer.headers.get(REVISION_HEADER))
        except TimeoutError:
            return no_answer_by(way, f"nothing came within {total:.0f} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return no_answer_by(way, reason_of(error))
