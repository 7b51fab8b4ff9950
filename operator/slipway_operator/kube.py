"""The API server as the operator uses it: seven calls, written with `kubernetes.aio`.

A failed write is not tried again here: the work queue is the retry, and it looks at the cluster anew first.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from time import perf_counter
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration

from slipway_operator.errors import ApiError, ConflictError, NotFoundError, RefusedError, TransientError
from slipway_operator.metrics import Metrics
from slipway_operator.names import COMPONENT, STATUS_FIELD_MANAGER
from slipway_operator.resources import MODEL, ChildRef, Key, Resource
from slipway_operator.throttle import TokenBucket

Body = dict[str, Any]

PAGE_SIZE: Final = 500
REQUEST_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, connect=5)

_NOT_AUTHORIZED: Final = re.compile(r'User "[^"]*" cannot ')
"""The authorizer's words. Admission answers 403 as well, about the object."""

_OTHER_UID: Final = re.compile(r"metadata\.uid: Invalid value: .*field is immutable", re.DOTALL)
"""An apply under a uid that the object does not have."""

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
    """`KubeApi` over the network. Writes wait for the bucket, reads don't."""

    def __init__(self, configuration: Configuration, bucket: TokenBucket, metrics: Metrics) -> None:
        self._client = ApiClient(configuration)
        self._client.user_agent = COMPONENT
        self._bucket = bucket
        self._metrics = metrics

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

    async def apply(self, ref: ChildRef, manifest: Body, uid: str | None) -> Body:
        namespace = manifest["metadata"]["namespace"]
        body = manifest
        if uid is not None:
            # Were the object replaced meanwhile by one that is not ours, the API server would refuse.
            body = manifest | {"metadata": manifest["metadata"] | {"uid": uid}}
        # Where there should be no object, a stranger's fields are not taken by force.
        query = {"fieldManager": COMPONENT, "force": "true" if uid is not None else "false"}
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

    async def _request(
        self,
        verb: str,
        resource: Resource,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Body | None = None,
        content_type: str = _JSON,
    ) -> Body:
        if verb != "GET":
            await self._bucket.take()
        started = perf_counter()
        code = 0
        try:
            code, content = await self._send(verb, path, query or {}, body, content_type)
        finally:
            self._metrics.api_requests.labels(verb, resource.plural, str(code)).inc()
            self._metrics.api_seconds.labels(verb, resource.plural).observe(perf_counter() - started)
        answer = _parsed(content)
        if 200 <= code < 300:
            return answer
        raise _error(code, answer)

    async def _send(
        self, verb: str, path: str, query: Mapping[str, str], body: Body | None, content_type: str
    ) -> tuple[int, bytes]:
        headers = {"Accept": _JSON, "Content-Type": content_type, "User-Agent": COMPONENT}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, verb, body)
        url = f"{self._client.configuration.host}{path}"
        if query:
            url = f"{url}?{urlencode(query)}"
        try:
            response = await self._client.call_api(verb, url, headers, body, _request_timeout=REQUEST_TIMEOUT)
            content: bytes = await response.read()  # type: ignore[no-untyped-call]
            return response.status, content
        except (TimeoutError, aiohttp.ClientError, OSError, ssl.SSLError) as error:
            raise TransientError(0, f"the API server gave no answer: {error or type(error).__name__}") from error


def _parsed(content: bytes) -> Body:
    try:
        found = json.loads(content)
    except ValueError:
        # A proxy's page, not the API server's answer.
        found = None
    return found if isinstance(found, dict) else {"message": content[:200].decode(errors="replace")}


def _error(code: int, answer: Body) -> ApiError:
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
    retry_after = (answer.get("details") or {}).get("retryAfterSeconds")
    return TransientError(code, message, float(retry_after) if retry_after else None)
