"""Ways to ask a model for one prediction, each with a real client that tries nothing twice."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

import httpx
import numpy as np

TIMEOUT_SECONDS: Final = 30


class Kind(StrEnum):
    KEEP_ALIVE = "keep-alive"
    """Over one connection, until the server asks to close it."""
    FRESH = "fresh"
    """Over a connection of its own."""
    GRPC = "grpc"
    """Over one HTTP/2 connection."""


@dataclass(frozen=True)
class Route:
    """A way in, and how its clients use it."""

    name: str
    kind: Kind
    address: str
    """URL below which the protocol's paths lie; for gRPC HOST:PORT."""
    model: str
    host: str = ""
    """The Host header where an Ingress routes by it."""


class WrongAnswerError(Exception):
    """An answer came, and it is not to the question."""


class Asker(Protocol):
    def ask(self, pixels: Any) -> int:
        """The label of one image. Raises whatever went wrong."""

    def close(self) -> None:
        """Ends its connection."""


def open_asker(route: Route) -> Asker:
    return GrpcAsker(route) if route.kind is Kind.GRPC else HttpAsker(route)


class HttpAsker:
    def __init__(self, route: Route) -> None:
        headers = {"Host": route.host} if route.host else {}
        if route.kind is Kind.FRESH:
            headers["Connection"] = "close"
        # Not through a configured proxy, which knows no address of the cluster.
        self._client = httpx.Client(headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False)
        self._url = f"{route.address}/v2/models/{route.model}/infer"
        self._numbers = itertools.count()

    def ask(self, pixels: Any) -> int:
        number = str(next(self._numbers))
        image = {"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [pixels]}
        response = self._client.post(self._url, json={"id": number, "inputs": [image]})
        if response.status_code != httpx.codes.OK:
            raise WrongAnswerError(f"HTTP {response.status_code}: {response.text[:300]}")
        answer = response.json()
        if answer.get("id") != number:
            raise WrongAnswerError(f"asked with id {number}, answered with {answer.get('id')}")
        labels = next(output for output in answer["outputs"] if output["name"] == "label")
        if labels["shape"] != [1]:
            raise WrongAnswerError(f"the label has shape {labels['shape']}")
        return int(labels["data"][0])

    def close(self) -> None:
        self._client.close()


class GrpcAsker:
    def __init__(self, route: Route) -> None:
        # Imported late: it takes half a second, and most clients speak HTTP.
        import tritonclient.grpc as triton

        self._triton = triton
        self._client = triton.InferenceServerClient(route.address)
        self._model = route.model
        self._numbers = itertools.count()

    def ask(self, pixels: Any) -> int:
        number = str(next(self._numbers))
        image = self._triton.InferInput("image", [1, 1, 8, 8], "FP32")
        image.set_data_from_numpy(np.asarray([pixels], np.float32))
        answer = self._client.infer(self._model, [image], request_id=number, client_timeout=TIMEOUT_SECONDS)
        if answer.get_response().id != number:
            raise WrongAnswerError(f"asked with id {number}, answered with {answer.get_response().id}")
        return int(answer.as_numpy("label")[0])

    def close(self) -> None:
        self._client.close()
