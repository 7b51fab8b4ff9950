"""Certificates, keys and kubeconfigs of one cluster, made with the `cryptography` library."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_DAYS: Final = 365
_CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH
_SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH


class KeyPair(NamedTuple):
    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """A CA whose files are DIRECTORY/NAME.crt and NAME.key; issued pairs lie beside them."""

    directory: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    path: Path
    key_path: Path

    def issue_client(self, file_name: str, user: str, groups: Sequence[str] = ()) -> KeyPair:
        """Kubernetes reads the common name as the user and each organization as a group."""
        return self._issue(file_name, _subject(user, groups), [_CLIENT], ())

    def issue_server(self, file_name: str, common_name: str, hosts: Sequence[str], *, client: bool = False) -> KeyPair:
        """`hosts` mixes DNS names and IP addresses; `client` makes it usable on both ends of a connection."""
        return self._issue(file_name, _subject(common_name, ()), [_SERVER, *([_CLIENT] if client else [])], hosts)

    def issue_kubelet(self, node_name: str, addresses: Sequence[str]) -> KeyPair:
        """One pair for both of the kubelet's roles: server on its port, client `system:node:NAME` of the API server."""
        subject = _subject(f"system:node:{node_name}", ["system:nodes"])
        return self._issue(f"kubelet-{node_name}", subject, [_CLIENT, _SERVER], [node_name, "127.0.0.1", *addresses])

    def _issue(
        self, file_name: str, subject: x509.Name, usages: Sequence[x509.ObjectIdentifier], hosts: Sequence[str]
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(subject, self.certificate.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(_names(hosts)), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        return _write_pair(self.directory, file_name, certificate, key)


def create_authority(directory: Path, name: str = "ca") -> Authority:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(f"slipway-{name}", ())
    certificate = (
        _builder(subject, subject, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_ca_usage(), critical=True)
        .sign(key, hashes.SHA256())
    )
    pair = _write_pair(directory, name, certificate, key)
    return Authority(directory, certificate, key, pair.certificate, pair.key)


def load_authority(directory: Path, name: str = "ca") -> Authority:
    """For certificates that are issued after the cluster came up, such as a second node's."""
    path, key_path = directory / f"{name}.crt", directory / f"{name}.key"
    key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Authority(directory, x509.load_pem_x509_certificate(path.read_bytes()), key, path, key_path)


def create_signing_key(directory: Path, name: str) -> KeyPair:
    """An RSA key that signs ServiceAccount tokens, with its public half as NAME.pub in the first place of the pair."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = directory / f"{name}.pub"
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return KeyPair(public, _write_key(directory / f"{name}.key", key))


def write_kubeconfig(
    path: Path, *, server: str, authority: Path, client: KeyPair, context: str, user: str = "user"
) -> Path:
    """Self-contained (certificates are inlined), so that it can be copied; JSON, which is YAML."""
    cluster = {"server": server, "certificate-authority-data": _inline(authority)}
    credentials = {
        "client-certificate-data": _inline(client.certificate),
        "client-key-data": _inline(client.key),
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": user}}],
        "current-context": context,
    }
    _write_private(path, (json.dumps(document, indent=2) + "\n").encode())
    return path


def _subject(common_name: str, groups: Sequence[str]) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.fromtimestamp(time.time(), UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))  # a clock that is set back a little does no harm
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _ca_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys(hosts):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def _write_pair(directory: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    path = directory / f"{name}.crt"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return KeyPair(path, _write_key(directory / f"{name}.key", key))


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> Path:
    # The traditional form: kube-controller-manager and CoreDNS read it in every version.
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    _write_private(path, pem)
    return path


def _write_private(path: Path, content: bytes) -> None:
    """Readable by the owner alone from the first moment on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _inline(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
