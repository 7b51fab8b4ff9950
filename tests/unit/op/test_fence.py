"""The fence: a write leaves only while the Lease is fresh, asked when its first byte is about to leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from slipway_operator.errors import FencedError, TransientError
from slipway_operator.kube import AioKubeApi
from slipway_operator.metrics import Metrics
from slipway_operator.resources import EVENT, SERVICE, ChildRef, Key
from slipway_operator.throttle import TokenBucket
from tests.unit.op.answering import answering

pytestmark = pytest.mark.unit

REF = ChildRef("Service", "digits")
MANIFEST = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "digits", "namespace": "vision"}}

WRITES: list[Callable[[AioKubeApi], Awaitable[Any]]] = [
    lambda api: api.apply(REF, MANIFEST, None),
    lambda api: api.apply_status(Key("vision", "digits"), {}),
    lambda api: api.delete(REF, "vision", "u1"),
    lambda api: api.create(EVENT, "vision", {}),
    lambda api: api.merge(EVENT, "vision", "digits.1", {}),
]


def against(
    answer: Callable[[web.Request], Awaitable[web.Response]],
    fence: Callable[[], float],
    use: Callable[[AioKubeApi], Awaitable[None]],
) -> Metrics:
    metrics = Metrics()

    async def scenario() -> None:
        async with answering(answer) as port:
            api = AioKubeApi(Configuration(host=f"http://127.0.0.1:{port}"), TokenBucket(1000), metrics, fence)
            try:
                await use(api)
            finally:
                await api.close()

    asyncio.run(scenario())
    return metrics


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("answers", [[0.0], [5.0, 0.0]], ids=["at once", "when the connection stands"])
def test_no_write_of_any_kind_goes_out_without_a_fresh_lease(
    write: Callable[[AioKubeApi], Awaitable[Any]], answers: list[float]
) -> None:
    asked: list[str] = []
    fence = iter(answers)

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.method)
        return web.json_response({})

    async def use(api: AioKubeApi) -> None:
        with pytest.raises(FencedError):
            await write(api)

    metrics = against(answer, lambda: next(fence), use)
    assert asked == []
    assert metrics.writes_fenced._value.get() == 1


def test_the_lease_itself_and_reads_pass_a_closed_fence() -> None:
    asked: list[tuple[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.method, request.path))
        return web.json_response(json.loads(await request.text() or "{}"))

    async def use(api: AioKubeApi) -> None:
        key = Key("slipway-system", "slipway-operator")
        await api.get(SERVICE, "vision", "digits")
        await api.get_lease(key, 5)
        await api.put_lease(key, {"metadata": {}}, 5)
        await api.put_lease(key, {"metadata": {"resourceVersion": "1"}}, 5)

    against(answer, lambda: 0.0, use)
    leases = "/apis/coordination.k8s.io/v1/namespaces/slipway-system/leases"
    assert [verb for verb, _ in asked] == ["GET", "GET", "POST", "PUT"]
    assert [path for _, path in asked[1:]] == [f"{leases}/slipway-operator", leases, f"{leases}/slipway-operator"]


def test_a_write_is_given_up_when_the_lease_ends() -> None:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.json_response({})

    async def use(api: AioKubeApi) -> None:
        began = asyncio.get_running_loop().time()
        with pytest.raises(TransientError, match="gave no answer"):
            await api.apply(REF, MANIFEST, None)
        assert asyncio.get_running_loop().time() - began < 3

    against(answer, lambda: 0.3, use)
