"""Build the product's images from the Dockerfile and push them where the cluster pulls from."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Images:
    """References under which the cluster pulls the two images."""

    operator: str
    runtime: str


def build_and_push(registry: str) -> Images:
    """Build both targets and push them; what is unchanged is neither built nor pushed again."""
    command = [str(REPOSITORY / ".ci" / "images"), "build", "--push", registry]
    process = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    found = dict(
        line.split("=", 1) for line in process.stdout.splitlines() if line.startswith(("operator=", "runtime="))
    )
    return Images(operator=found["operator"], runtime=found["runtime"])
