"""etcd, kube-apiserver and kube-controller-manager (in node mode also kube-scheduler) as processes of one cluster."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final

from tests.cluster import pki, process
from tests.cluster.components import ensure
from tests.cluster.errors import ClusterError
from tests.cluster.ports import LOOPBACK
from tests.cluster.state import ClusterState, Mode

PORT_NAMES: Final = ("apiserver", "etcd-client", "etcd-peer", "kube-controller-manager", "kube-scheduler")
# In a network namespace of its own a cluster has every port to itself.
USUAL_PORTS: Final = dict(zip(PORT_NAMES, (6443, 2379, 2380, 10257, 10259), strict=True))

SERVICE_ACCOUNT_ISSUER: Final = "https://kubernetes.default.svc.cluster.local"
FRONT_PROXY: Final = "front-proxy-client"
HPA_SYNC_PERIOD: Final = "5s"  # 15 s unless told; tests wait for it
# Ample, for a machine that does much else; a process that ends is noticed at once.
READY_SECONDS: Final = 180.0


def start(state: ClusterState) -> None:
    """Make the certificates, start everything and return once the default ServiceAccount exists.

    In node mode the caller has made the network namespace, and `state.node_address` is reachable from here.
    """
    began = time.monotonic()
    create_pki(state)
    start_etcd(state)
    start_apiserver(state)
    start_controller_manager(state)
    if state.mode is Mode.NODE:
        start_scheduler(state)
    process.wait_until(
        state,
        lambda: api_status(state, "/api/v1/namespaces/default/serviceaccounts/default") == http.HTTPStatus.OK,
        what="the default ServiceAccount exists",
        needs=["kube-controller-manager", "kube-apiserver", "etcd"],
        timeout_seconds=READY_SECONDS,
    )
    state.details["control_plane_seconds"] = round(time.monotonic() - began, 1)
    state.save()


def create_pki(state: ClusterState) -> None:
    """Everything but the kubelets' pairs: those come with `pki.load_authority(state.pki).issue_kubelet(…)`."""
    authority = pki.create_authority(state.pki)
    first_service_address = str(IPv4Network(state.service_range)[1])
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    hosts = [*names, "localhost", LOOPBACK, state.api_host, first_service_address]
    authority.issue_server("apiserver", "kube-apiserver", hosts)
    # The kubelets authorize this user with the API server like any other; masters may do everything on them.
    authority.issue_client("apiserver-kubelet", "kube-apiserver-kubelet-client", ["system:masters"])
    pki.create_signing_key(state.pki, "service-account")
    issue_kubeconfig(state, "admin", "kubernetes-admin", ["system:masters"], path=state.kubeconfig)
    issue_kubeconfig(state, "kube-controller-manager", "system:kube-controller-manager")
    if state.mode is Mode.NODE:
        issue_kubeconfig(state, "kube-scheduler", "system:kube-scheduler")
        issue_kubeconfig(state, "kube-proxy", "system:kube-proxy")
    # The API server shows this to the servers of further APIs, which then take its word for who asks.
    proxy_authority = pki.create_authority(state.pki, "front-proxy-ca")
    proxy_authority.issue_client("front-proxy-client", FRONT_PROXY)
    # A CA of its own: else every client certificate of the cluster would open etcd, which knows no RBAC.
    etcd_authority = pki.create_authority(state.pki, "etcd-ca")
    etcd_authority.issue_server("etcd", "etcd", ["localhost", LOOPBACK], client=True)
    etcd_authority.issue_client("apiserver-etcd", "kube-apiserver-etcd-client")


def issue_kubeconfig(
    state: ClusterState, file_name: str, user: str, groups: Sequence[str] = (), *, path: Path | None = None
) -> Path:
    """A client certificate and a kubeconfig around it, `pki/NAME.kubeconfig` unless `path` says otherwise."""
    authority = pki.load_authority(state.pki)
    client = authority.issue_client(file_name, user, groups)
    return kubeconfig_for(state, client, path or state.pki / f"{file_name}.kubeconfig")


def kubeconfig_for(state: ClusterState, client: pki.KeyPair, path: Path) -> Path:
    context = f"slipway-{state.name}"
    return pki.write_kubeconfig(
        path, server=state.server, authority=state.pki / "ca.crt", client=client, context=context
    )


def start_etcd(state: ClusterState) -> None:
    client_url = f"https://{LOOPBACK}:{state.ports['etcd-client']}"
    peer_url = f"https://{LOOPBACK}:{state.ports['etcd-peer']}"
    argv: list[str | Path] = [
        ensure("etcd"),
        f"--name={state.name}",
        f"--data-dir={state.directory / 'etcd'}",
        f"--listen-client-urls={client_url}",
        f"--advertise-client-urls={client_url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster={state.name}={peer_url}",
        "--client-cert-auth",
        f"--trusted-ca-file={state.pki / 'etcd-ca.crt'}",
        f"--cert-file={state.pki / 'etcd.crt'}",
        f"--key-file={state.pki / 'etcd.key'}",
        "--peer-client-cert-auth",
        f"--peer-trusted-ca-file={state.pki / 'etcd-ca.crt'}",
        f"--peer-cert-file={state.pki / 'etcd.crt'}",
        f"--peer-key-file={state.pki / 'etcd.key'}",
        "--unsafe-no-fsync",  # the data lives no longer than the processes
        "--log-level=warn",
    ]
    process.start(state, "etcd", argv, netns=state.netns)


def start_apiserver(state: ClusterState) -> None:
    process.start(state, "kube-apiserver", apiserver_argv(state), netns=state.netns)
    process.wait_until(
        state,
        lambda: api_status(state, "/readyz") == http.HTTPStatus.OK,
        what="the API server is ready",
        needs=["kube-apiserver", "etcd"],
        timeout_seconds=READY_SECONDS,
    )


def restart_apiserver(state: ClusterState) -> None:
    """Returns when it answers again, with the data that etcd kept."""
    process.stop(state, "kube-apiserver")
    start_apiserver(state)


def audit_log(state: ClusterState) -> Path:
    """What ServiceAccounts asked of the API server, one JSON object per line; those of Kubernetes itself aside.

    And before that what the cluster's own rules say.
    """
    return state.logs / "audit.log"


def _audit_flags(state: ClusterState) -> list[str]:
    rules: list[dict[str, Any]] = [
        *state.audit_rules,
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"], "omitStages": ["RequestReceived"]},
        {"level": "None"},
    ]
    policy = state.directory / "audit-policy.json"
    policy.write_text(json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}))
    return [
        f"--audit-policy-file={policy}",
        f"--audit-log-path={audit_log(state)}",
        "--audit-log-maxsize=200",
        "--audit-log-maxbackup=1",
    ]


def apiserver_argv(state: ClusterState) -> list[str | Path]:
    directory = state.pki
    argv: list[str | Path] = [
        ensure("kube-apiserver"),
        f"--secure-port={state.ports['apiserver']}",
        f"--tls-cert-file={directory / 'apiserver.crt'}",
        f"--tls-private-key-file={directory / 'apiserver.key'}",
        f"--client-ca-file={directory / 'ca.crt'}",
        f"--etcd-servers=https://{LOOPBACK}:{state.ports['etcd-client']}",
        f"--etcd-cafile={directory / 'etcd-ca.crt'}",
        f"--etcd-certfile={directory / 'apiserver-etcd.crt'}",
        f"--etcd-keyfile={directory / 'apiserver-etcd.key'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",  # beside the default ones, of which PodSecurity is one
        "--allow-privileged",
        f"--service-cluster-ip-range={state.service_range}",
        f"--service-account-issuer={SERVICE_ACCOUNT_ISSUER}",
        f"--service-account-key-file={directory / 'service-account.pub'}",
        f"--service-account-signing-key-file={directory / 'service-account.key'}",
        f"--kubelet-certificate-authority={directory / 'ca.crt'}",
        f"--kubelet-client-certificate={directory / 'apiserver-kubelet.crt'}",
        f"--kubelet-client-key={directory / 'apiserver-kubelet.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={directory / 'front-proxy-ca.crt'}",
        f"--requestheader-allowed-names={FRONT_PROXY}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={directory / 'front-proxy-client.crt'}",
        f"--proxy-client-key-file={directory / 'front-proxy-client.key'}",
        "--profiling=false",
    ]
    if state.mode is Mode.NODE:
        argv += ["--bind-address=0.0.0.0", f"--advertise-address={state.api_host}"]
    else:
        # Endpoints may not hold a loopback address, so the `kubernetes` Service stays without one: no Pod runs here.
        argv += [f"--bind-address={LOOPBACK}", f"--advertise-address={LOOPBACK}", "--endpoint-reconciler-type=none"]
        argv += _audit_flags(state)
    return argv


def start_controller_manager(state: ClusterState) -> None:
    directory = state.pki
    argv: list[str | Path] = [
        ensure("kube-controller-manager"),
        *_client_flags(state, "kube-controller-manager"),
        "--use-service-account-credentials",
        f"--service-account-private-key-file={directory / 'service-account.key'}",
        f"--root-ca-file={directory / 'ca.crt'}",
        f"--horizontal-pod-autoscaler-sync-period={HPA_SYNC_PERIOD}",
        f"--cluster-signing-cert-file={directory / 'ca.crt'}",
        f"--cluster-signing-key-file={directory / 'ca.key'}",
        "--profiling=false",
        # At its usual 20 requests a second the pods of a thousand Deployments would take many minutes.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]
    if state.mode is Mode.NODE:
        argv += ["--allocate-node-cidrs", f"--cluster-cidr={state.pod_range}"]
    process.start(state, "kube-controller-manager", argv, netns=state.netns)


def start_scheduler(state: ClusterState) -> None:
    argv: list[str | Path] = [ensure("kube-scheduler"), *_client_flags(state, "kube-scheduler"), "--profiling=false"]
    process.start(state, "kube-scheduler", argv, netns=state.netns)


def _client_flags(state: ClusterState, name: str) -> list[str]:
    kubeconfig = state.pki / f"{name}.kubeconfig"
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={state.ports[name]}",
        "--leader-elect=false",
    ]


def api_status(state: ClusterState, path: str) -> int:
    """HTTP status of a GET as administrator; 0 while nothing answers."""
    try:
        return _get(state, path)[0]
    except (OSError, http.client.HTTPException):
        return 0


def api_get(state: ClusterState, path: str) -> Any:
    """The JSON of a GET as administrator."""
    status, body = _get(state, path)
    if status != http.HTTPStatus.OK:
        raise ClusterError(f"GET {state.server}{path}: HTTP {status}: {body[:500].decode(errors='replace')}")
    return json.loads(body)


def _get(state: ClusterState, path: str) -> tuple[int, bytes]:
    context = ssl.create_default_context(cafile=state.pki / "ca.crt")
    context.load_cert_chain(state.pki / "admin.crt", state.pki / "admin.key")
    # Not urllib: it would ask a configured proxy for loopback addresses.
    connection = http.client.HTTPSConnection(state.api_host, state.ports["apiserver"], timeout=5, context=context)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
