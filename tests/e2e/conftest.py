"""What every end-to-end test stands on: built images, a store with a trained model, the installed chart."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cluster.lifecycle import Cluster
from tests.e2e.models import CREDENTIALS, Model
from tests.stack import chart
from tests.stack.images import REPOSITORY, Images, build_and_push
from tests.stack.store import Store, start_store


@dataclass(frozen=True)
class Digits:
    """The trained example and digits it has not seen, each with the label that this very model gives it."""

    path: Path
    digest: str
    samples: list[dict[str, Any]]


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    directory = tmp_path_factory.mktemp("digits")
    script = REPOSITORY / "examples" / "digits" / "train.py"
    subprocess.run([sys.executable, str(script), "--output", str(directory / "model.pt")], check=True)
    model = directory / "model.pt"
    images = [sample["image"] for sample in json.loads((directory / "samples.json").read_text())]
    with torch.inference_mode(), warnings.catch_warnings():
        # torch prefers other formats from 2.15 on and still loads this one.
        warnings.filterwarnings("ignore", message="`torch.jit.load` is deprecated", category=FutureWarning)
        labels, _ = torch.jit.load(str(model))(torch.tensor(images))
    samples = [{"image": image, "label": int(label)} for image, label in zip(images, labels, strict=True)]
    return Digits(model, f"sha256:{hashlib.sha256(model.read_bytes()).hexdigest()}", samples)


@pytest.fixture(scope="session")
def images(node: Cluster) -> Images:
    assert node.registry, "a cluster from KUBECONFIG needs SLIPWAY_REGISTRY, a registry that it pulls from"
    return build_and_push(node.registry)


@pytest.fixture(scope="session")
def store(node: Cluster, digits: Digits) -> Store:
    store = start_store(node)
    store.upload(digits.path, "digits/model.pt")
    return store


@pytest.fixture(scope="session")
def installed(node: Cluster, images: Images) -> Cluster:
    """The chart, installed with helm; the operator is ready."""
    chart.install(node, images)
    return node


@pytest.fixture
def deploy(installed: Cluster, store: Store, digits: Digits, namespace: str) -> Callable[..., Model]:
    """Apply a ModelDeployment of the digits model with further spec blocks, in a fresh namespace."""
    return make_deploy(installed, store, digits, namespace)


def make_deploy(cluster: Cluster, store: Store, digits: Digits, namespace: str) -> Callable[..., Model]:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": CREDENTIALS, "namespace": namespace},
        "stringData": store.environment,
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(secret))

    def deploy(name: str = "digits", **blocks: Any) -> Model:
        artifact = {"uri": "s3://models/digits/model.pt", "credentials": {"secretRef": {"name": CREDENTIALS}}}
        model = Model(cluster, namespace, name, {"artifact": artifact}, digits.samples)
        model.apply(**blocks)
        return model

    return deploy
