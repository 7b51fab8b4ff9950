"""Certificates say who somebody is in Kubernetes' words, and no key can be read by others."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.cluster import pki

pytestmark = pytest.mark.unit


@pytest.fixture
def authority(tmp_path: Path) -> pki.Authority:
    return pki.create_authority(tmp_path / "pki")


def read(pair: pki.KeyPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes())


def values(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> list[str | bytes]:
    return [attribute.value for attribute in certificate.subject.get_attributes_for_oid(oid)]


def test_client_is_its_common_name_with_its_organizations_as_groups(authority: pki.Authority) -> None:
    certificate = read(authority.issue_client("admin", "kubernetes-admin", ["system:masters", "others"]))
    assert values(certificate, NameOID.COMMON_NAME) == ["kubernetes-admin"]
    assert values(certificate, NameOID.ORGANIZATION_NAME) == ["system:masters", "others"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate.verify_directly_issued_by(authority.certificate)


def test_kubelet_serves_and_calls_with_one_certificate(authority: pki.Authority) -> None:
    certificate = read(authority.issue_kubelet("node1", ["10.255.0.1"]))
    assert values(certificate, NameOID.COMMON_NAME) == ["system:node:node1"]
    assert values(certificate, NameOID.ORGANIZATION_NAME) == ["system:nodes"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["node1"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "10.255.0.1"]


def test_loaded_authority_issues_what_the_first_ones_clients_trust(authority: pki.Authority) -> None:
    certificate = read(pki.load_authority(authority.directory).issue_kubelet("node2", []))
    certificate.verify_directly_issued_by(authority.certificate)


def test_keys_and_kubeconfigs_are_closed_to_other_users(authority: pki.Authority, tmp_path: Path) -> None:
    pair = authority.issue_client("admin", "kubernetes-admin")
    signing = pki.create_signing_key(authority.directory, "service-account")
    kubeconfig = pki.write_kubeconfig(
        tmp_path / "kubeconfig", server="https://127.0.0.1:1", authority=authority.path, client=pair, context="c"
    )
    for path in (pair.key, authority.key_path, signing.key, kubeconfig):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_kubeconfig_can_be_copied_to_another_machine(authority: pki.Authority, tmp_path: Path) -> None:
    pair = authority.issue_client("admin", "kubernetes-admin")
    path = pki.write_kubeconfig(
        tmp_path / "kubeconfig", server="https://127.0.0.1:1", authority=authority.path, client=pair, context="c"
    )
    text = path.read_text()
    assert str(tmp_path) not in text
    (user,) = json.loads(text)["users"]
    assert base64.b64decode(user["user"]["client-key-data"]) == pair.key.read_bytes()


def test_tokens_are_verified_with_the_public_half_of_the_signing_key(authority: pki.Authority) -> None:
    pair = pki.create_signing_key(authority.directory, "service-account")
    public = load_pem_private_key(pair.key.read_bytes(), None).public_key()
    assert public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) == pair.certificate.read_bytes()
