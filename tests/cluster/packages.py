"""Debian packages that node mode needs: installed when they are missing, without starting any of their services."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.cluster.errors import ClusterError, RequirementError
from tests.cluster.progress import progress
from tests.cluster.state import cache_directory, file_lock

POLICY: Final = Path("/usr/sbin/policy-rc.d")
_POLICY_TEXT: Final = """#!/bin/sh
# Written by Slipway's cluster tool while it installs packages: no service starts. It may be deleted.
exit 101
"""
INSTALL_SECONDS: Final = 900.0


def ensure(names: Sequence[str]) -> None:
    """Return once all of them are installed."""
    missing = missing_packages(names)
    if not missing:
        return
    command = f"apt-get install -y --no-install-recommends {' '.join(missing)}"
    if shutil.which("apt-get") is None:
        raise RequirementError(
            f"missing: {', '.join(missing)} (Debian's names), and there is no apt-get to install them. "
            "Use Debian or Ubuntu, or set KUBECONFIG to a cluster of yours."
        )
    if os.geteuid() != 0:
        raise RequirementError(f"missing Debian packages: {', '.join(missing)}. Install them: sudo {command}")
    with (
        progress("Debian packages", first_stage=f"installing {', '.join(missing)}"),
        file_lock(cache_directory() / ".packages.lock", what="the installation of Debian packages"),
        no_services(POLICY),
    ):
        # A package list that is out of date names versions that the mirror has no more; an update may fail in part.
        _apt("update", check=False)
        _apt("install", "-y", "--no-install-recommends", *missing)
    still_missing = missing_packages(names)
    if still_missing:
        raise ClusterError(f"not installed after `{command}`: {', '.join(still_missing)}.")


def missing_packages(names: Sequence[str]) -> list[str]:
    if shutil.which("dpkg-query") is None:
        return list(names)
    query = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Abbrev}\n", *names]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)  # 1 when it does not know one of them
    installed = {line.split()[0] for line in answer.stdout.splitlines() if line.split()[1:2] == ["ii"]}
    return [name for name in names if name not in installed]


@contextmanager
def no_services(policy: Path) -> Iterator[None]:
    """Debian asks this file before it starts a service; a policy that is already there is the machine's own."""
    ours = not policy.exists() or policy.read_text(encoding="utf-8", errors="replace") == _POLICY_TEXT
    if ours:
        policy.write_text(_POLICY_TEXT, encoding="utf-8")
        policy.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            policy.unlink(missing_ok=True)


def _apt(*arguments: str, check: bool = True) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Another apt run, such as the machine's nightly one, is waited for.
    command = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", *arguments]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{' '.join(command)}: no end within {INSTALL_SECONDS:.0f} s.") from error
    if check and answer.returncode != 0:
        last_lines = "\n  ".join((answer.stderr or answer.stdout).strip().splitlines()[-10:])
        raise ClusterError(f"{' '.join(command)}: exit code {answer.returncode}:\n  {last_lines}")
