"""Every version that the local cluster is made of, and where its official releases lie."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Final

KUBERNETES: Final = "1.36.3"
ETCD: Final = "3.7.3"
HELM: Final = "4.3.1"
COREDNS: Final = "1.15.0"
VERSITYGW: Final = "1.8.0"
METRICS_SERVER: Final = "0.9.0"

GOARCH: Final = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), platform.machine())
GOOS: Final = platform.system().lower()


@dataclass(frozen=True)
class Release:
    """One official download; `member` is the program's path inside an archive, None for a bare program."""

    url: str
    checksum_url: str
    member: str | None = None


@dataclass(frozen=True)
class Component:
    """One program: how it is downloaded, which Go package it is built from and how it tells its version."""

    name: str
    version: str
    release: Release | None
    module: str
    """Folder under tests/cluster/modules with the go.mod and go.sum that pin the build."""
    package: str
    ldflags: tuple[str, ...] = ()
    version_argv: tuple[str, ...] = ("--version",)


_VERSION_PACKAGE: Final = "k8s.io/component-base/version"
_MAJOR, _MINOR = KUBERNETES.split(".")[:2]
# Without these the API server calls itself v0.0.0-master, and charts that ask for a kubeVersion are refused.
_KUBERNETES_LDFLAGS: Final = (
    f"-X {_VERSION_PACKAGE}.gitVersion=v{KUBERNETES}",
    f"-X {_VERSION_PACKAGE}.gitMajor={_MAJOR}",
    f"-X {_VERSION_PACKAGE}.gitMinor={_MINOR}",
    f"-X {_VERSION_PACKAGE}.gitTreeState=clean",
)


def _kubernetes(name: str) -> Component:
    url = f"https://dl.k8s.io/release/v{KUBERNETES}/bin/{GOOS}/{GOARCH}/{name}"
    return Component(
        name=name,
        version=KUBERNETES,
        release=Release(url, f"{url}.sha256"),
        module="kubernetes",
        package=f"k8s.io/kubernetes/cmd/{name}",
        ldflags=_KUBERNETES_LDFLAGS,
        version_argv=("version", "--client") if name == "kubectl" else ("--version",),
    )


def _etcd() -> Component:
    base = f"https://github.com/etcd-io/etcd/releases/download/v{ETCD}"
    archive = f"etcd-v{ETCD}-{GOOS}-{GOARCH}"
    return Component(
        name="etcd",
        version=ETCD,
        release=Release(f"{base}/{archive}.tar.gz", f"{base}/SHA256SUMS", f"{archive}/etcd"),
        module="etcd",
        package="go.etcd.io/etcd/server/v3",
    )


def _helm() -> Component:
    url = f"https://get.helm.sh/helm-v{HELM}-{GOOS}-{GOARCH}.tar.gz"
    return Component(
        name="helm",
        version=HELM,
        release=Release(url, f"{url}.sha256sum", f"{GOOS}-{GOARCH}/helm"),
        module="helm",
        package="helm.sh/helm/v4/cmd/helm",
        ldflags=(f"-X helm.sh/helm/v4/internal/version.version=v{HELM}",),
        version_argv=("version", "--short"),
    )


def _coredns() -> Component:
    url = f"https://github.com/coredns/coredns/releases/download/v{COREDNS}/coredns_{COREDNS}_{GOOS}_{GOARCH}.tgz"
    return Component(
        name="coredns",
        version=COREDNS,
        release=Release(url, f"{url}.sha256", "coredns"),
        module="coredns",
        package="github.com/coredns/coredns",
        version_argv=("-version",),
    )


def _versitygw() -> Component:
    base = f"https://github.com/versity/versitygw/releases/download/v{VERSITYGW}"
    archive = f"versitygw_v{VERSITYGW}_{GOOS.capitalize()}_{'x86_64' if GOARCH == 'amd64' else GOARCH}"
    return Component(
        name="versitygw",
        version=VERSITYGW,
        release=Release(
            f"{base}/{archive}.tar.gz", f"{base}/versitygw_{VERSITYGW}_checksums.txt", f"{archive}/versitygw"
        ),
        module="versitygw",
        package="github.com/versity/versitygw/cmd/versitygw",
        ldflags=(f"-X main.Version=v{VERSITYGW}",),
    )


def _metrics_server() -> Component:
    """Released as an image only, so it is always built."""
    return Component(
        name="metrics-server",
        version=METRICS_SERVER,
        release=None,
        module="metrics-server",
        package="sigs.k8s.io/metrics-server/cmd/metrics-server",
        ldflags=(f"-X k8s.io/client-go/pkg/version.gitVersion=v{METRICS_SERVER}",),
    )


COMPONENTS: Final = {
    component.name: component
    for component in (
        *(
            _kubernetes(name)
            for name in (
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kube-proxy",
                "kubectl",
            )
        ),
        _etcd(),
        _helm(),
        _coredns(),
        _versitygw(),
        _metrics_server(),
    )
}
