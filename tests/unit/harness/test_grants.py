"""The kubeconfig that the operator is tested with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import pki
from tests.fixtures.grants import kubeconfig

pytestmark = pytest.mark.unit

KILLED = """
import asyncio, os, signal
from kubernetes.aio import config
asyncio.run(config.load_kube_config())
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_operator_leaves_no_authority_in_the_folder_of_temporary_files(tmp_path: Path) -> None:
    authority = pki.create_authority(tmp_path / "pki")
    admin = pki.write_kubeconfig(
        tmp_path / "admin",
        server="https://127.0.0.1:1",
        authority=authority.path,
        client=authority.issue_client("admin", "admin"),
        context="it",
    )
    own = tmp_path / "operator"
    own.write_text(json.dumps(kubeconfig(admin, "token", tmp_path / "ca.crt")))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "KUBECONFIG": str(own), "TMPDIR": str(temporary)}
    assert subprocess.run([sys.executable, "-c", KILLED], env=environment, check=False).returncode == -9
    assert list(temporary.iterdir()) == []
    assert (tmp_path / "ca.crt").read_bytes() == authority.path.read_bytes()
