"""How to reach the API server: the pod's ServiceAccount, else KUBECONFIG. One way for the writes and for kopf."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException

from slipway_operator.errors import SettingsError
from slipway_operator.names import COMPONENT


async def load_configuration(environment: Mapping[str, str]) -> Configuration:
    """KUBECONFIG wins where it is set, so that the operator can be run by hand from inside a pod too."""
    found = Configuration()
    try:
        if "KUBECONFIG" not in environment and "KUBERNETES_SERVICE_HOST" in environment:
            # Reads the token's file again every minute.
            config.load_incluster_config(found)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(client_configuration=found)  # type: ignore[no-untyped-call]
    except ConfigException as error:
        raise SettingsError(
            f"the cluster is not known: {error}. Run in a pod with a ServiceAccount, or set KUBECONFIG."
        ) from error
    # The watches trust nothing of the environment either. Else a thread would read ~/.netrc before every request.
    found.client_session_kwargs = {"trust_env": False}
    return found


FORBIDDEN_PAUSE_SECONDS: Final = 10.0


class ForbiddenError(aiohttp.ClientPayloadError):
    """A right is missing; of the errors that kopf knows, the one after which it lists anew and says nothing."""


async def patient(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """A right that is missing may come: with a namespace that is made anew, or when an API server that has just started
    has read its roles. kopf's watches, and with them the process, would end for good."""
    response = await send(request)
    if response.status == 403:
        response.release()
        await asyncio.sleep(FORBIDDEN_PAUSE_SECONDS)
        raise ForbiddenError(f"403: {request.method} {request.url.path}")
    return response


def new_session(configuration: Configuration, traces: list[aiohttp.TraceConfig]) -> aiohttp.ClientSession:
    """For kopf, which closes it. Each request carries the token of its own moment."""

    async def authorize(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        settings: dict[str, Any] = dict(await configuration.auth_settings())
        for setting in settings.values():
            if setting["in"] == "header":
                request.headers[setting["key"]] = setting["value"]
        return await send(request)

    tls: Any = RESTClientObject(configuration).ssl_context
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=tls),
        headers={"User-Agent": COMPONENT},
        middlewares=(patient, authorize),
        trace_configs=traces,
        read_bufsize=2**21,
    )
