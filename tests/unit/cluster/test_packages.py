"""Installing packages starts no service and says what to type where it cannot go on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cluster import packages
from tests.cluster.errors import RequirementError

pytestmark = pytest.mark.unit

debian = pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="needs Debian or Ubuntu: it asks dpkg")


def test_services_are_forbidden_only_while_packages_are_installed(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with packages.no_services(policy):
        assert policy.read_text().endswith("exit 101\n")
        assert policy.stat().st_mode & 0o111
    assert not policy.exists()


def test_policy_of_the_machine_stays_as_it_is(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n")
    with packages.no_services(policy):
        assert policy.read_text() == "#!/bin/sh\nexit 0\n"
    assert policy.exists()


def test_policy_that_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with packages.no_services(policy):
        left = policy.read_text()
    policy.write_text(left)
    with packages.no_services(policy):
        pass
    assert not policy.exists()


@debian
def test_what_is_installed_is_not_missing() -> None:
    assert packages.missing_packages(["dpkg", "slipway-no-such-package"]) == ["slipway-no-such-package"]
    packages.ensure(["dpkg"])


@debian
def test_command_is_named_when_root_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(RequirementError, match=r"sudo apt-get install -y .* slipway-no-such-package"):
        packages.ensure(["dpkg", "slipway-no-such-package"])


def test_other_ways_are_named_when_there_is_no_apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RequirementError, match="KUBECONFIG"):
        packages.ensure(["containerd"])
