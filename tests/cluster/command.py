"""Run one program to its end; what it says on failure is the error's message."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster.errors import ClusterError

TIMEOUT_SECONDS = 120.0


def run(
    *argv: str | Path,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> str:
    """The program's standard output; `env` is the whole environment, this process' own by default."""
    words: Sequence[str] = [str(word) for word in argv]
    try:
        finished = subprocess.run(
            words,
            input=stdin,
            env=env,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            start_new_session=True,  # Ctrl-C in the terminal is for this process, which then cleans up with others
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]}: no such program on PATH; install the Debian package that holds it.") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"`{' '.join(words)}` did not end within {timeout_seconds:.0f} s.") from error
    if finished.returncode != 0:
        said = (finished.stderr.strip() or finished.stdout.strip() or "it said nothing")[-2000:]
        raise ClusterError(f"`{' '.join(words)}` ended with code {finished.returncode}: {said}")
    return finished.stdout
