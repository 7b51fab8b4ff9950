"""Install the product the way a user does: with helm."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

from tests.cluster import components
from tests.stack.images import REPOSITORY, Images

if TYPE_CHECKING:
    from tests.cluster.lifecycle import Cluster

RELEASE: Final = "slipway"
NAMESPACE: Final = "slipway-system"
CHART: Final = str(REPOSITORY / "charts" / "slipway")


def helm(cluster: Cluster, *arguments: str) -> str:
    """Run helm against the cluster; its error output is the error's message."""
    command = [str(components.ensure("helm")), "--kubeconfig", str(cluster.kubeconfig), *arguments]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode != 0:
        raise RuntimeError(f"helm {' '.join(arguments)}: {process.stderr.strip()}")
    return process.stdout


def image_values(images: Images) -> list[str]:
    """`--set` flags that point the chart at these images."""
    flags = []
    for component, reference in (("operator", images.operator), ("runtime", images.runtime)):
        repository, _, tag = reference.rpartition(":")
        flags += ["--set", f"{component}.image.repository={repository}", "--set-string", f"{component}.image.tag={tag}"]
    return flags


def install(cluster: Cluster, images: Images, *flags: str, release: str = RELEASE, namespace: str = NAMESPACE) -> str:
    """Install or upgrade the chart and wait until the operator is ready; returns the chart's notes."""
    # On a cluster of KUBECONFIG other tiers may have applied the CRD without helm.
    shared = [] if cluster.state is not None else ["--take-ownership"]
    return helm(
        cluster, "upgrade", "--install", release, CHART, "--namespace", namespace, "--create-namespace",
        "--wait", "--timeout", "3m", *image_values(images), *shared, *flags,
    )  # fmt: skip
