"""Asks for a prediction through the way in from outside, by its host and at its controller's address."""

from __future__ import annotations

from typing import Final

import aiohttp

from slipway_operator import asking
from slipway_operator.asking import Asker, reason_of
from slipway_operator.cache import Memory
from slipway_operator.listeners import Way
from slipway_operator.resources import Key
from slipway_operator.route_verification import RouteQuestion, RouteVerdict, complaint, no_answer_by, request_by
from slipway_runtime.contract import REVISION_HEADER

CHANGE_SECONDS: Final = 5.0
"""After a change, before the new route is asked: some controllers gather changes for seconds, and until then the old
route answers in its place."""


class RouteInquirer(Asker[RouteQuestion]):
    """What came of a question is the memory's `route_verdict`."""

    def _patience(self, wanted: RouteQuestion) -> float:
        return CHANGE_SECONDS if wanted.changed else 0.0

    async def _ask_for(self, key: Key, memory: Memory, wanted: RouteQuestion) -> None:
        verdict = await self._ask(wanted)
        if self._wanted.get(key) != wanted:
            return
        known = memory.route_verdict
        if verdict.url is None:
            attempts = self._again(key)
            told = known is not None and known.question == wanted and known.url is None
            # The first words stand: what comes in place of an answer may differ each time.
            if attempts < asking.PATIENCE or told:
                return
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
