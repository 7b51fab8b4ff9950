"""A ModelDeployment on a real node as the end-to-end tests see it: through kubectl and through HTTP."""

from __future__ import annotations

import json
import time
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import httpx

if TYPE_CHECKING:
    from tests.cluster.lifecycle import Cluster

READY_SECONDS: Final = 240
CREDENTIALS: Final = "store"
QUICK_START: Final = {"execution": {"isolation": "InProcess", "threads": 1}, "tuning": {"mode": "Disabled"}}
"""`spec.runtime` of pods that are there in seconds, for tests that start many and ask little of the model."""


@dataclass
class Model:
    """One ModelDeployment; `spec` is what was last applied."""

    cluster: Cluster
    namespace: str
    name: str
    spec: dict[str, Any]
    samples: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def apply(self, **blocks: Any) -> None:
        """Apply the spec with these top-level blocks replaced, as a user's manifest would."""
        self.spec = deepcopy(self.spec) | blocks
        manifest = {
            "apiVersion": "slipway.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": self.spec,
        }
        self.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments)

    def get(self) -> dict[str, Any]:
        """The object as the API server has it."""
        found: dict[str, Any] = json.loads(self.kubectl("get", "mdep", self.name, "-o", "json"))
        return found

    def conditions(self) -> dict[str, dict[str, Any]]:
        status = self.get().get("status", {})
        return {condition["type"]: condition for condition in status.get("conditions", [])}

    def row(self) -> dict[str, str]:
        """The line of `kubectl get modeldeployments`, by column."""
        header, line = self.kubectl("get", "modeldeployments", self.name).rstrip("\n").split("\n")
        starts = [header.index(column) for column in header.split()]
        ends = [*starts[1:], None]
        return {header[start:end].strip(): line[start:end].strip() for start, end in zip(starts, ends, strict=True)}

    def wait_ready(self, seconds: int = READY_SECONDS) -> None:
        """Wait until this very generation is Ready."""
        generation = self.get()["metadata"]["generation"]
        deadline = time.monotonic() + seconds
        while True:
            ready = self.conditions().get("Ready", {})
            if ready.get("status") == "True" and ready.get("observedGeneration") == generation:
                return
            assert time.monotonic() < deadline, (
                f"not Ready after {seconds} s: {json.dumps(self.get()['status'], indent=2)}"
            )
            time.sleep(0.5)

    def wait_reason(self, reason: str, seconds: int = 120) -> dict[str, dict[str, Any]]:
        """Wait until Ready is False for this reason and this generation; returns all conditions."""
        generation = self.get()["metadata"]["generation"]
        deadline = time.monotonic() + seconds
        while True:
            conditions = self.conditions()
            ready = conditions.get("Ready", {})
            if (ready.get("status"), ready.get("reason"), ready.get("observedGeneration")) == (
                "False", reason, generation,
            ):  # fmt: skip
                return conditions
            assert time.monotonic() < deadline, (
                f"expected Ready=False/{reason} within {seconds} s: {json.dumps(self.get().get('status'), indent=2)}"
            )
            time.sleep(0.5)

    def pods(self) -> dict[str, dict[str, Any]]:
        """Pods by uid."""
        selector = f"slipway.dev/modeldeployment={self.name}"
        items = json.loads(self.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
        return {pod["metadata"]["uid"]: pod for pod in items}

    def service_address(self) -> str:
        return self.kubectl("get", "service", self.name, "-o", "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}")

    def predict(self, base: str = "", headers: dict[str, str] | None = None) -> list[int]:
        """Labels of the first held-out digits, in one request; through the Service unless a base URL is given."""
        pixels = [sample["image"] for sample in self.samples]
        body = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [len(pixels), 1, 8, 8], "data": pixels}]}
        url = f"{base or 'http://' + self.service_address()}/v2/models/{self.name}/infer"
        response = httpx.post(url, json=body, headers=headers, timeout=30, follow_redirects=False)
        assert response.status_code == 200, f"{url}: {response.status_code} {response.text}"
        outputs = {output["name"]: output for output in response.json()["outputs"]}
        return [int(value) for value in outputs["label"]["data"]]

    def answers(self) -> bool:
        """True when the held-out digits are predicted as they should be."""
        return self.predict() == [sample["label"] for sample in self.samples]
