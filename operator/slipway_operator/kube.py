"""The API server as the operator uses it: a few calls, written with `kubernetes.aio`.

No write is sent unless the fence lets it through, and none may take longer than the fence says. A failed write is not
tried again here: the work queue is the retry, and it looks at the cluster anew first.
"""

from __future__ import annotations

import copy
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from time import perf_counter, time
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.rest import RESTResponse

from slipway_operator.errors import (
    ApiError,
    ConflictError,
    FencedError,
    NotFoundError,
    RefusedError,
    TransientError,
)
from slipway_operator.metrics import Metrics
from slipway_operator.names import COMPONENT, STATUS_FIELD_MANAGER
from slipway_operator.resources import LEASE, MODEL, ChildRef, Key, Resource
from slipway_operator.throttle import TokenBucket

Body = dict[str, Any]

PAGE_SIZE: Final = 100
"""Objects. A parsed Deployment takes some 60 KiB, so pages of 500 cost more memory than all that is kept."""
REQUEST_SECONDS: Final = 30.0
CONNECT_SECONDS: Final = 5.0

_NOT_AUTHORIZED: Final = re.compile(r'User "[^"]*" cannot ')
"""The authorizer's words. Admission answers 403 as well, about the object."""

_OTHER_UID: Final = re.compile(r"metadata\.uid: Invalid value: .*field is immutable", re.DOTALL)
"""An apply under a uid that the object does not have."""

_OF_NO_OBJECT: Final = "1"
"""A resource version that none has: an apply with it makes an object where there is none, and changes none."""

_LEASES: Final = LEASE.path().removesuffix(LEASE.plural)

_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"
_JSON: Final = "application/json"


class KubeApi(Protocol):
    """Raises `ApiError` in one of its four forms, and nothing else."""

    async def served(self, resource: Resource) -> bool:
        """Whether the API server knows the kind."""
        ...

    async def get(self, resource: Resource, namespace: str, name: str) -> Body | None: ...

    def pages(
        self, resource: Resource, namespace: str | None, selector: str = ""
    ) -> AsyncIterator[tuple[list[Body], int]]:
        """Pages of one consistent list, each with the list's resource version."""
        ...

    def watch(
        self, resource: Resource, namespace: str | None, selector: str, version: str, seconds: int
    ) -> AsyncIterator[Body]:
        """What has changed since `version`, with bookmarks, until the server ends it after so many seconds."""
        ...

    async def apply(self, ref: ChildRef, manifest: Body, uid: str | None) -> Body:
        """Change the object that has this uid, or make one where there is none. Returns what it has become."""
        ...

    async def apply_status(self, key: Key, status: Body) -> Body: ...

    async def delete(self, ref: ChildRef, namespace: str, uid: str) -> None:
        """Delete the object that has this uid. That it is gone already is no error."""
        ...

    async def create(self, resource: Resource, namespace: str, body: Body) -> None: ...

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Body) -> Body: ...


class AioKubeApi:
    """`KubeApi` and `LeaseStore` over the network. Writes wait for the bucket; reads and the Lease don't.

    `fence` tells how many seconds a write that is sent now may take; 0: it must not be sent.
    """

    def __init__(
        self, configuration: Configuration, bucket: TokenBucket, metrics: Metrics, fence: Callable[[], float]
    ) -> None:
        guarded = copy.copy(configuration)
        guarded.trace_configs = [self._guard()]
        self._client = ApiClient(guarded)
        self._client.user_agent = COMPONENT
        self._bucket = bucket
        self._metrics = metrics
        self._fence = fence

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]

    async def served(self, resource: Resource) -> bool:
        root = resource.path().rpartition("/")[0]
        try:
            found = await self._request("GET", resource, root)
        except NotFoundError:
            return False
        return any(item["name"] == resource.plural for item in found.get("resources", []))

    async def get(self, resource: Resource, namespace: str, name: str) -> Body | None:
        try:
            return await self._request("GET", resource, resource.path(namespace, name))
        except NotFoundError:
            return None

    async def pages(
        self, resource: Resource, namespace: str | None, selector: str = ""
    ) -> AsyncIterator[tuple[list[Body], int]]:
        query = {"limit": str(PAGE_SIZE)}
        if selector:
            query["labelSelector"] = selector
        while True:
            page = await self._request("GET", resource, resource.path(namespace), query)
            metadata = page["metadata"]
            yield page["items"], int(metadata["resourceVersion"])
            if not metadata.get("continue"):
                return
            query["continue"] = metadata["continue"]

    async def watch(
        self, resource: Resource, namespace: str | None, selector: str, version: str, seconds: int
    ) -> AsyncIterator[Body]:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": selector,
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        # Were the server never to end it, the silence would.
        timeout = aiohttp.ClientTimeout(total=seconds + REQUEST_SECONDS, connect=CONNECT_SECONDS)
        rest = b""
        try:
            response = await self._call("GET", resource.path(namespace), query, None, _JSON, timeout)
            self._metrics.api_requests.labels("WATCH", resource.plural, str(response.status)).inc()
            if response.status != 200:
                raise _error(response.status, _parsed(await response.read()))  # type: ignore[no-untyped-call]
            self._metrics.watch_opened.labels(resource.plural).set(time())
            async with response.response:
                async for chunk in response.response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield json.loads(line)
        except (TimeoutError, aiohttp.ClientError, OSError, ssl.SSLError, ValueError) as error:
            raise TransientError(0, f"the watch broke off: {error or type(error).__name__}") from error

    async def apply(self, ref: ChildRef, manifest: Body, uid: str | None) -> Body:
        namespace = manifest["metadata"]["namespace"]
        # Were there an object that is not ours, or another than we know, the API server answers with a conflict.
        claim = {"uid": uid} if uid is not None else {"resourceVersion": _OF_NO_OBJECT}
        body = manifest | {"metadata": manifest["metadata"] | claim}
        query = {"fieldManager": COMPONENT, "force": "true"}
        return await self._request("PATCH", ref.resource, ref.resource.path(namespace, ref.name), query, body, _APPLY)

    async def apply_status(self, key: Key, status: Body) -> Body:
        body = {
            "apiVersion": MODEL.api_version,
            "kind": MODEL.kind,
            "metadata": {"name": key.name, "namespace": key.namespace},
            "status": status,
        }
        query = {"fieldManager": STATUS_FIELD_MANAGER, "force": "true"}
        path = MODEL.path(key.namespace, key.name, "status")
        return await self._request("PATCH", MODEL, path, query, body, _APPLY)

    async def delete(self, ref: ChildRef, namespace: str, uid: str) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        try:
            await self._request("DELETE", ref.resource, ref.resource.path(namespace, ref.name), {}, body, _JSON)
        except NotFoundError:
            return

    async def create(self, resource: Resource, namespace: str, body: Body) -> None:
        await self._request("POST", resource, resource.path(namespace), {"fieldManager": COMPONENT}, body, _JSON)

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Body) -> Body:
        query = {"fieldManager": COMPONENT}
        return await self._request("PATCH", resource, resource.path(namespace, name), query, patch, _MERGE)

    async def get_lease(self, key: Key, timeout_seconds: float) -> Body:
        return await self._request("GET", LEASE, LEASE.path(*key), seconds=timeout_seconds)

    async def put_lease(self, key: Key, body: Body, timeout_seconds: float) -> Body:
        verb, name = ("PUT", key.name) if "resourceVersion" in body["metadata"] else ("POST", None)
        path = LEASE.path(key.namespace, name)
        return await self._request(verb, LEASE, path, {"fieldManager": COMPONENT}, body, seconds=timeout_seconds)

    async def _request(
        self,
        verb: str,
        resource: Resource,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Body | None = None,
        content_type: str = _JSON,
        seconds: float = REQUEST_SECONDS,
    ) -> Body:
        if _is_fenced(verb, path):
            await self._bucket.take()
            seconds = min(seconds, self._seconds_for_a_write())
        started = perf_counter()
        code = 0
        try:
            code, content, later = await self._send(verb, path, query or {}, body, content_type, seconds)
        finally:
            self._metrics.api_requests.labels(verb, resource.plural, str(code)).inc()
            self._metrics.api_seconds.labels(verb, resource.plural).observe(perf_counter() - started)
        answer = _parsed(content)
        if 200 <= code < 300:
            return answer
        raise _error(code, answer, later)

    async def _send(
        self, verb: str, path: str, query: Mapping[str, str], body: Body | None, content_type: str, seconds: float
    ) -> tuple[int, bytes, str]:
        timeout = aiohttp.ClientTimeout(total=seconds, connect=CONNECT_SECONDS)
        try:
            response = await self._call(verb, path, query, body, content_type, timeout)
            content: bytes = await response.read()  # type: ignore[no-untyped-call]
            return response.status, content, response.headers.get("Retry-After") or ""
        except (TimeoutError, aiohttp.ClientError, OSError, ssl.SSLError) as error:
            raise TransientError(0, f"the API server gave no answer: {error or type(error).__name__}") from error

    async def _call(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str],
        body: Body | None,
        content_type: str,
        limit: aiohttp.ClientTimeout,
    ) -> RESTResponse:
        headers = {"Accept": _JSON, "Content-Type": content_type, "User-Agent": COMPONENT}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, verb, body)
        url = f"{self._client.configuration.host}{path}"
        if query:
            url = f"{url}?{urlencode(query)}"
        return await self._client.call_api(verb, url, headers, body, _request_timeout=limit)

    def _seconds_for_a_write(self) -> float:
        seconds = self._fence()
        if seconds <= 0:
            self._metrics.writes_fenced.inc()
            raise FencedError
        return seconds

    def _guard(self) -> aiohttp.TraceConfig:
        """Asks the fence once more when the connection stands and the first byte is about to leave.

        Between the question and the byte nothing is awaited. aiohttp sends some requests again by itself when a
        connection that was kept open turns out dead; that comes past here too.
        """
        trace = aiohttp.TraceConfig()

        async def sending(_: object, context: object, params: aiohttp.TraceRequestHeadersSentParams) -> None:
            if _is_fenced(params.method, params.url.path):
                self._seconds_for_a_write()

        trace.on_request_headers_sent.append(sending)
        return trace


def _is_fenced(verb: str, path: str) -> bool:
    """Every write but those to the Lease, which has its own guard: the version of the object."""
    return verb != "GET" and not path.startswith(_LEASES)


def _parsed(content: bytes) -> Body:
    try:
        found = json.loads(content)
    except ValueError:
        # A proxy's page, not the API server's answer.
        found = None
    return found if isinstance(found, dict) else {"message": content[:200].decode(errors="replace")}


def _error(code: int, answer: Body, later: str = "") -> ApiError:
    """`later`: the header by which an overloaded server says when to come again, with no object to say it in."""
    message = str(answer.get("message") or answer.get("reason") or f"status {code}")
    if code == 404:
        return NotFoundError(code, message)
    if code == 409 or (code == 422 and _OTHER_UID.search(message)):
        return ConflictError(code, message)
    if code == 403 and _NOT_AUTHORIZED.search(message):
        # Our own rights, which an API server that has just started does not know yet; no fault of any spec.
        return TransientError(code, message)
    if code in (400, 403, 405, 413, 415, 422):
        return RefusedError(code, message)
    retry_after = (answer.get("details") or {}).get("retryAfterSeconds") or (later if later.isdecimal() else None)
    return TransientError(code, message, float(retry_after) if retry_after else None)
