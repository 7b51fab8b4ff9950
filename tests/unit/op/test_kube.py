"""The client of the API server, against a server on loopback that answers as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from slipway_operator.errors import ApiError, ConflictError, NotFoundError, RefusedError, TransientError
from slipway_operator.kube import AioKubeApi
from slipway_operator.metrics import Metrics
from slipway_operator.resources import CONFIG_MAP, SERVICE, ChildRef, Key
from slipway_operator.throttle import TokenBucket
from tests.unit.op.answering import answering

pytestmark = pytest.mark.unit

REF = ChildRef("Service", "digits")
MANIFEST = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "digits", "namespace": "vision"}}

Answer = tuple[int, dict[str, Any]]


def against(
    answer: Callable[[web.Request, Any], Answer], use: Callable[[AioKubeApi], Awaitable[None]], metrics: Metrics
) -> None:
    """Run `use` with a client of a server that gives `answer`."""

    async def handle(request: web.Request) -> web.Response:
        text = await request.text()
        status, body = answer(request, json.loads(text) if text else None)
        return web.json_response(body, status=status)

    async def scenario() -> None:
        async with answering(handle) as port:
            api = AioKubeApi(Configuration(host=f"http://127.0.0.1:{port}"), TokenBucket(1000), metrics, lambda: 10.0)
            try:
                await use(api)
            finally:
                await api.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (404, 'services "digits" not found', NotFoundError),
        (409, "uid mismatch", ConflictError),
        (422, 'Service "digits" is invalid: metadata.uid: Invalid value: "u1": field is immutable', ConflictError),
        (422, "Service is invalid", RefusedError),
        (403, 'services "digits" is forbidden: exceeded quota', RefusedError),
        (403, 'services is forbidden: User "system:serviceaccount:a:b" cannot patch resource', TransientError),
        (401, "Unauthorized", TransientError),
        (429, "storage is (re)initializing", TransientError),
        (503, "apiserver is shutting down", TransientError),
    ],
)
def test_answers_are_told_apart_by_what_is_to_be_done(status: int, message: str, expected: type[ApiError]) -> None:
    async def use(api: AioKubeApi) -> None:
        with pytest.raises(expected) as caught:
            await api.apply(REF, MANIFEST, None)
        assert caught.value.message == message
        assert caught.value.status == status

    against(lambda request, body: (status, {"message": message}), use, Metrics())


def test_a_server_that_is_away_is_a_transient_error_without_its_details() -> None:
    async def scenario() -> None:
        api = AioKubeApi(Configuration(host="http://127.0.0.1:9"), TokenBucket(1000), Metrics(), lambda: 10.0)
        try:
            with pytest.raises(TransientError, match="the API server gave no answer") as caught:
                await api.get(SERVICE, "vision", "digits")
            assert caught.value.status == 0
        finally:
            await api.close()

    asyncio.run(scenario())


def test_the_server_says_how_long_to_wait() -> None:
    async def use(api: AioKubeApi) -> None:
        with pytest.raises(TransientError) as caught:
            await api.get(SERVICE, "vision", "digits")
        assert caught.value.retry_after_seconds == 7

    against(lambda request, body: (429, {"message": "later", "details": {"retryAfterSeconds": 7}}), use, Metrics())


def test_a_server_that_is_too_busy_for_an_object_says_it_in_a_header() -> None:
    """So does API Priority and Fairness, in plain text."""

    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "3"}, text="Too many requests, please try again later.")

    async def scenario() -> None:
        async with answering(handle) as port:
            api = AioKubeApi(Configuration(host=f"http://127.0.0.1:{port}"), TokenBucket(1000), Metrics(), lambda: 10.0)
            try:
                with pytest.raises(TransientError, match="Too many requests") as caught:
                    await api.get(SERVICE, "vision", "digits")
                assert caught.value.retry_after_seconds == 3
            finally:
                await api.close()

    asyncio.run(scenario())


def test_a_known_object_is_changed_by_uid_and_a_new_one_changes_none_that_is_there() -> None:
    seen: list[tuple[str | None, str | None, str]] = []

    def answer(request: web.Request, body: Any) -> Answer:
        seen.append((body["metadata"].get("uid"), body["metadata"].get("resourceVersion"), request.content_type))
        return 200, body

    async def use(api: AioKubeApi) -> None:
        await api.apply(REF, MANIFEST, None)
        await api.apply(REF, MANIFEST, "u1")

    against(answer, use, Metrics())
    assert seen == [
        (None, "1", "application/apply-patch+yaml"),
        ("u1", None, "application/apply-patch+yaml"),
    ]
    assert MANIFEST["metadata"] == {"name": "digits", "namespace": "vision"}


def test_the_status_is_written_as_its_own_manager() -> None:
    seen: list[tuple[str, str]] = []

    def answer(request: web.Request, body: Any) -> Answer:
        seen.append((request.path, request.query["fieldManager"]))
        return 200, body

    async def use(api: AioKubeApi) -> None:
        await api.apply_status(Key("vision", "digits"), {"replicas": 1})

    against(answer, use, Metrics())
    path = "/apis/slipway.dev/v1alpha1/namespaces/vision/modeldeployments/digits/status"
    assert seen == [(path, "slipway-operator-status")]


def test_a_long_list_is_read_page_by_page() -> None:
    def answer(request: web.Request, body: Any) -> Answer:
        first = "continue" not in request.query
        metadata = {"resourceVersion": "9"} | ({"continue": "next"} if first else {})
        return 200, {"metadata": metadata, "items": [{"n": 1 if first else 2}]}

    async def use(api: AioKubeApi) -> None:
        found = [page async for page in api.pages(CONFIG_MAP, None, "a=b")]
        assert found == [([{"n": 1}], 9), ([{"n": 2}], 9)]

    against(answer, use, Metrics())


def test_deleting_what_is_gone_is_no_error() -> None:
    async def use(api: AioKubeApi) -> None:
        await api.delete(REF, "vision", "u1")

    against(lambda request, body: (404, {"message": "not found"}), use, Metrics())


def test_each_request_is_counted_with_its_answer() -> None:
    metrics = Metrics()

    async def use(api: AioKubeApi) -> None:
        assert await api.get(SERVICE, "vision", "digits") is None

    against(lambda request, body: (404, {"message": "not found"}), use, metrics)
    text = metrics.text().decode()
    assert 'slipway_operator_api_requests_total{code="404",resource="services",verb="GET"} 1.0' in text


def test_no_more_is_written_than_the_bucket_gives() -> None:
    async def scenario() -> float:
        bucket = TokenBucket(50)
        for _ in range(100):
            await bucket.take()
        began = asyncio.get_running_loop().time()
        for _ in range(10):
            await bucket.take()
        return asyncio.get_running_loop().time() - began

    assert asyncio.run(scenario()) >= 0.15
