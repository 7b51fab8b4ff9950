"""A real runtime process on free ports of loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from slipway_runtime.contract import LIVE_PATH, READY_PATH, TerminationMessage

_START_SECONDS: Final = 240.0
"""Importing torch from a cold disk takes most of it."""
_POLL_SECONDS: Final = 0.05


class RuntimeServer:
    """Started, not yet ready; see `wait_until_ready`."""

    def __init__(
        self, folder: Path, *flags: str, environment: dict[str, str] | None = None, wrapper: Sequence[str] = ()
    ) -> None:
        """`wrapper` is a command that runs the runtime, such as unshare."""
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "runtime.log"
        self._errors = folder / "runtime.err"
        self._termination = folder / "termination-log"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "HTTP_"))}
        variables = {
            "SLIPWAY_CACHE_DIR": str(folder / "cache"),
            "SLIPWAY_TERMINATION_MESSAGE_PATH": str(self._termination),
            **(environment or {}),
        }
        command = [sys.executable, "-m", "slipway_runtime", "--host", "127.0.0.1", "--port", "0", "--admin-port", "0"]
        with self._log.open("wb") as log, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*wrapper, *command, *flags], stdout=log, stderr=errors, env={**inherited, **variables}, cwd=folder
            )

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._listening()['port']}"

    @property
    def admin_uri(self) -> str:
        return f"http://127.0.0.1:{self._listening()['admin_port']}"

    @property
    def address(self) -> str:
        """As tritonclient takes it."""
        return self.uri.removeprefix("http://")

    @property
    def grpc_address(self) -> str:
        """Once it is ready, where it was given --grpc-port."""
        (port,) = (line["grpc_port"] for line in self.log if "grpc_port" in line)
        return f"127.0.0.1:{port}"

    def _listening(self) -> dict[str, Any]:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            for line in self.log:
                if line["message"] == "Listening":
                    return line
            if self.process.poll() is not None:
                break
            time.sleep(_POLL_SECONDS)
        raise AssertionError(f"The runtime does not listen:\n{self._log.read_text()}\n{self.errors}")

    def wait_until(self, path: str, status: int = 200) -> None:
        deadline = time.monotonic() + _START_SECONDS
        uri = self.admin_uri + path
        while time.monotonic() < deadline:
            try:
                if httpx.get(uri, timeout=30).status_code == status:
                    return
            except httpx.TransportError:
                pass
            if self.process.poll() is not None:
                break
            time.sleep(_POLL_SECONDS)
        raise AssertionError(f"{path} did not become {status}:\n{self._log.read_text()}\n{self.errors}")

    def wait_until_ready(self) -> RuntimeServer:
        self.wait_until(READY_PATH)
        return self

    def wait_until_alive(self) -> RuntimeServer:
        self.wait_until(LIVE_PATH)
        return self

    def metrics(self) -> str:
        return httpx.get(f"{self.admin_uri}/metrics", timeout=30).text

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def wait(self, seconds: float = 60) -> int:
        """The exit code."""
        return self.process.wait(timeout=seconds)

    def termination_message(self) -> TerminationMessage | None:
        return TerminationMessage.decode(self._termination.read_text()) if self._termination.exists() else None

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
