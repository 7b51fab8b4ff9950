"""Settings: an error names the variable, the value and what is expected."""

from __future__ import annotations

import pytest

from slipway_operator.errors import SettingsError
from slipway_operator.settings import from_environment

pytestmark = pytest.mark.unit

REQUIRED = {"SLIPWAY_RUNTIME_IMAGE": "registry.example.com/runtime:1"}


def test_the_defaults_hold_when_only_the_image_is_set() -> None:
    settings = from_environment(REQUIRED)
    assert settings.render.runtime_image == "registry.example.com/runtime:1"
    assert settings.namespaces == ()
    assert settings.allowed_schemes == {"s3", "https", "http"}
    assert (settings.http_port, settings.writes_per_second, settings.sweep_seconds) == (8080, 50, 300)
    assert (settings.log_level, settings.log_format) == ("INFO", "json")


def test_namespaces_are_a_list_without_repetition() -> None:
    assert from_environment(REQUIRED | {"SLIPWAY_NAMESPACES": "a, b,,a"}).namespaces == ("a", "b")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SLIPWAY_RUNTIME_IMAGE", " ", "the image that serves models"),
        ("SLIPWAY_RUNTIME_IMAGE_PULL_POLICY", "Sometimes", "'IfNotPresent'"),
        ("SLIPWAY_NAMESPACES", "a,B_C", "names of namespaces"),
        ("SLIPWAY_ALLOWED_SCHEMES", "s3,ftp", "s3, https, http, file"),
        ("SLIPWAY_ALLOWED_SCHEMES", "", "s3, https, http, file"),
        ("SLIPWAY_INGRESS_CLASSES", "internal=apache", "'internal=apache', expected CLASS=CONTROLLER"),
        ("SLIPWAY_INGRESS_CLASSES", "nginx", "CLASS=CONTROLLER"),
        ("SLIPWAY_DEFAULT_INGRESS_CLASS", "My Class", "the name of an IngressClass"),
        ("SLIPWAY_LOG_LEVEL", "LOUD", "'WARNING'"),
        ("SLIPWAY_LOG_FORMAT", "xml", "'text'"),
        ("SLIPWAY_HTTP_PORT", "eighty", "from 1 to 65535"),
        ("SLIPWAY_WRITES_PER_SECOND", "nan", "from 1 to 10000"),
        ("SLIPWAY_SWEEP_SECONDS", "0", "from 1 to 86400"),
        ("SLIPWAY_LEASE_NAMESPACE", "Slipway", "lower-case letters"),
        ("SLIPWAY_LEASE_NAME", "a/b", "lower-case letters"),
        ("SLIPWAY_LEASE_DURATION_SECONDS", "2", "from 3 to 600"),
        ("SLIPWAY_LEASE_RENEW_DEADLINE_SECONDS", "13", "four fifths of SLIPWAY_LEASE_DURATION_SECONDS"),
        ("SLIPWAY_LEASE_RETRY_SECONDS", "4", "a third of SLIPWAY_LEASE_RENEW_DEADLINE_SECONDS"),
        ("SLIPWAY_VERIFY_PREDICTIONS", "yes", "'true'"),
        ("SLIPWAY_VERIFY_ROUTES", "no", "'false'"),
        ("SLIPWAY_OPERATOR_NAMESPACE", "A_B", "the namespace that the operator runs in"),
    ],
)
def test_an_error_names_the_variable_and_what_is_expected(name: str, value: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        from_environment(REQUIRED | {name: value})
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert expected in message


def test_each_process_is_another_holder_unless_it_is_told_its_name() -> None:
    given = [from_environment(REQUIRED).lease for _ in range(2)]
    assert given[0].identity != given[1].identity
    assert given[0].key == given[1].key == ("default", "slipway-operator")
    assert from_environment(REQUIRED | {"SLIPWAY_LEASE_IDENTITY": "pod-a_1"}).lease.identity == "pod-a_1"
