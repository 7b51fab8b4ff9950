"""Every example of docs/protocols.md, run as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.conftest import StartRuntime
from tests.runtime.server import RuntimeServer

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(300)]

PAGE = Path(__file__).parents[2] / "docs" / "protocols.md"
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> list[tuple[str, str]]:
    """Commands, which go on in lines that begin with `> `, and what they print."""
    found: list[tuple[str, str]] = []
    for block in _BLOCK.findall(PAGE.read_text()):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *rest = part.splitlines()
            while rest and rest[0].startswith("> "):
                command += "\n" + rest.pop(0)[2:]
            found.append((command, "\n".join(rest)))
    return found


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
@pytest.mark.feature("oip-rest", "v1-predict", "uploads")
def test_every_example_prints_what_the_page_says(
    linear: RuntimeServer, archives: Path, start_runtime: StartRuntime, tmp_path: Path
) -> None:
    brightness = start_runtime("--uri", f"file://{archives}/brightness.pt", "--name", "brightness").wait_until_ready()
    places = {"localhost:8080": linear.address, "localhost:8090": brightness.address}
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    assert len(examples()) > 20
    for command, expected in examples():
        for written, real in places.items():
            command = command.replace(written, real)
        process = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            timeout=60,
        )
        assert process.returncode == 0, f"{command}\n{process.stderr}"
        assert process.stdout.strip() == expected.strip(), command
