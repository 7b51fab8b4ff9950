"""Bring up a real cluster on this machine, install the operator, serve a digit classifier, predict with it.

Typed twice it works twice: what runs is used again. Interrupted, it can be typed again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import httpx

from tests.cluster import components
from tests.cluster.errors import ClusterError
from tests.cluster.lifecycle import Cluster
from tests.demo.picture import beside, draw
from tests.demo.progress import Steps
from tests.stack import chart
from tests.stack.images import REPOSITORY, build_and_push
from tests.stack.store import Store, start_store

CLUSTER: Final = "demo"
MANIFEST: Final = REPOSITORY / "examples" / "digits.yaml"
MODEL: Final = "digits"
SECRET: Final = "digits-store"
NAMESPACE: Final = "default"
HOST: Final = "digits.example.com"
SHOWN: Final = 6
READY_SECONDS: Final = 280
ROUTE_SECONDS: Final = 60


def main() -> int:
    if os.geteuid() != 0 and not os.environ.get("KUBECONFIG"):
        print(
            "make demo: a Kubernetes node on this machine needs root (network namespace, containerd, kubelet).\n"
            "Run it as root, or set KUBECONFIG to a cluster of yours and SLIPWAY_REGISTRY to a registry it pulls from.",
            file=sys.stderr,
        )
        return 2
    steps = Steps(total=8)
    try:
        correct = run(steps)
    except KeyboardInterrupt:
        print(
            "\nInterrupted. Type it again to go on, or clean up with:\n"
            f"  .venv/bin/python -m tests.cluster down --name {CLUSTER}"
        )
        return 130
    except (ClusterError, RuntimeError, OSError, subprocess.CalledProcessError, httpx.HTTPError) as error:
        print(
            f"\nmake demo: {error}\nLook around with: .venv/bin/python -m tests.cluster status\n"
            f"Clean up with:    .venv/bin/python -m tests.cluster down --name {CLUSTER}",
            file=sys.stderr,
        )
        return 1
    print(f"\nHow long it took:\n{steps.table()}\n")
    return 0 if correct else 1


def run(steps: Steps) -> bool:
    """True when every shown digit was predicted right."""
    with steps.step("Kubernetes, helm and an S3 server: find, download or compile", ticks=False):
        components.ensure_all([*components.NODE, "helm", "versitygw"])
    with steps.step("Cluster: control plane, containerd, kubelet, DNS, Ingress, registry"):
        cluster = Cluster.up(CLUSTER, mode="node")
    with steps.step("Images: build the operator and the runtime, push them"):
        if cluster.registry is None:
            raise RuntimeError("KUBECONFIG is set: set SLIPWAY_REGISTRY too, to a registry that it pulls from.")
        images = build_and_push(cluster.registry)
    with steps.step("Training: a small CNN on scikit-learn's handwritten digits"):
        model, samples = train()
    with steps.step("Artifact: start the S3 server, upload the model"):
        store = start_store(cluster)
        uri = store.upload(model, "digits/model.pt")
    with steps.step("helm install: the operator"):
        chart.install(cluster, images)
    with steps.step(f"kubectl apply: {MANIFEST.relative_to(REPOSITORY)} ({uri})"):
        apply(cluster, store)
        wait(cluster, "Ready", READY_SECONDS)
        wait(cluster, "RouteReady", ROUTE_SECONDS)
    print(f"\n$ kubectl get modeldeployments\n{cluster.kubectl('-n', NAMESPACE, 'get', 'modeldeployments')}")
    with steps.step(f"Predictions: held-out digits through the Ingress, host {HOST}"):
        correct = predict(cluster, samples)
    print(how_to_go_on(cluster))
    return correct


def train() -> tuple[Path, list[dict[str, Any]]]:
    """Run the example's own training script; returns the artifact and held-out samples."""
    directory = Path(tempfile.mkdtemp(prefix="slipway-demo-"))
    script = REPOSITORY / "examples" / "digits" / "train.py"
    command = [sys.executable, str(script), "--output", str(directory / "model.pt")]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode != 0:
        raise RuntimeError(f"{script}: {process.stderr.strip()}")
    print(process.stdout.strip())
    return directory / "model.pt", json.loads((directory / "samples.json").read_text())


def apply(cluster: Cluster, store: Store) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": NAMESPACE},
        "stringData": store.environment,
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(secret))
    cluster.kubectl("-n", NAMESPACE, "apply", "-f", str(MANIFEST))


def wait(cluster: Cluster, condition: str, seconds: int) -> None:
    """kubectl wait; when it is in vain, what the object itself says is the error."""
    try:
        cluster.kubectl(
            "-n", NAMESPACE, "wait", f"--for=condition={condition}", f"mdep/{MODEL}", f"--timeout={seconds}s"
        )
    except ClusterError as error:
        row = cluster.kubectl("-n", NAMESPACE, "get", "modeldeployments", MODEL, "-o", "wide")
        raise RuntimeError(f"not {condition} within {seconds} s:\n{row}") from error


def predict(cluster: Cluster, samples: list[dict[str, Any]]) -> bool:
    """Send the first held-out digits one by one; print each picture beside its prediction and latency."""
    url = f"http://{cluster.ingress_address}/v2/models/{MODEL}/infer"
    pictures, captions, right = [], [], 0
    with httpx.Client(headers={"Host": HOST}, timeout=30) as client:
        for sample in samples[:SHOWN]:
            pixels = sample["image"][0]
            image = {"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [sample["image"]]}
            started = time.perf_counter()
            response = client.post(url, json={"inputs": [image]})
            milliseconds = (time.perf_counter() - started) * 1000
            if response.status_code != httpx.codes.OK:
                raise RuntimeError(f"POST {url}: {response.status_code}: {response.text}")
            outputs = {output["name"]: output["data"] for output in response.json()["outputs"]}
            label = int(outputs["label"][0])
            right += label == sample["label"]
            pictures.append(draw(pixels))
            verdict = "right" if label == sample["label"] else f"wrong, it is {sample['label']}"
            captions.append([f"predicted {label}", verdict, f"{milliseconds:.1f} ms"])
    print()
    for start in range(0, len(pictures), 3):
        print(beside(pictures[start : start + 3], captions[start : start + 3]) + "\n")
    print(f"{right} of {len(pictures)} held-out digits are right.")
    return right == len(pictures)


def how_to_go_on(cluster: Cluster) -> str:
    return f"""
Look around:
  eval "$(.venv/bin/python -m tests.cluster env --name {CLUSTER})"
  kubectl get modeldeployments -o wide
  kubectl describe mdep {MODEL}
  kubectl get pods,services,ingresses
  curl -H 'Host: {HOST}' http://{cluster.ingress_address}/v2/models/{MODEL}
Break it, and see what it says:
  kubectl patch mdep {MODEL} --type=merge -p '{{"spec":{{"artifact":{{"uri":"s3://models/digits/nothing.pt"}}}}}}'
Clean up:
  .venv/bin/python -m tests.cluster down --name {CLUSTER}"""


if __name__ == "__main__":
    sys.exit(main())
