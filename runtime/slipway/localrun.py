"""Run the runtime as a child process in the foreground, with the configuration that the operator would give it.

The child has a session of its own, so that a Ctrl-C reaches it once and through us. The configuration lies in a
private folder that is gone when the child has ended.
"""

from __future__ import annotations

import errno
import json
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, Final

from slipway.environment import TERMINATION_MESSAGE_VARIABLE
from slipway_runtime.contract import READY_PATH, RuntimeConfig, TerminationMessage

RUNTIME_PACKAGES: Final = (
    *("torch", "numpy", "fastapi", "httptools", "uvloop", "orjson", "simdjson"),
    *("grpc", "prometheus_client", "obstore", "urllib3"),
)
_POLL_SECONDS: Final = 0.2
_SAMPLE_ELEMENTS_LIMIT: Final = 256
"""A request with more values than this is no command to paste."""
_LOOPBACK: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 compared, not bound

Say = Callable[[str], None]


@dataclass(frozen=True)
class Launch:
    """All that one local run needs."""

    config: RuntimeConfig
    environment: Mapping[str, str]
    host: str
    port: int
    admin_port: int
    log_format: str = "text"

    @property
    def url(self) -> str:
        host = reachable(self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def missing_packages(wanted: tuple[str, ...] = RUNTIME_PACKAGES) -> list[str]:
    """Packages of the runtime that are not installed here; nothing is imported to find out."""
    return [name for name in wanted if find_spec(name) is None]


def port_taken(host: str, port: int) -> bool:
    """Whether another process listens there; asked beforehand, so that its answers are never taken for our child's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def find_port_conflict(host: str, ports: Mapping[str, int]) -> str | None:
    """The first flag whose port cannot be used, in a sentence with the way out; `ports` are by flag."""
    flags: dict[int, str] = {}
    for flag, port in ports.items():
        if port in flags:
            return f"{flag}: {port} is the port of {flags[port]} as well. Choose another with {flag}."
        if port_taken(host, port):
            return f"{flag}: {host}:{port} is taken by another process. Choose another port."
        flags[port] = flag
    return None


def local_config(
    config: RuntimeConfig, uri: str | None, grpc_port: int | None, samples: Path | None = None
) -> RuntimeConfig:
    """What the operator would say, made true for one user's machine: `uri`, `grpc_port` and the file with warm-up
    samples win where they are given."""
    # Nothing routes to this process but its user: nothing has to forget it before it stops, no Secret is mounted.
    changes: dict[str, Any] = {"drain_delay_seconds": 0, "auth": None, "tls": None}
    if uri is not None:
        changes["artifact"] = config.artifact.model_copy(update={"uri": uri, "digest": None})
    if grpc_port is not None:
        changes["grpc_port"] = grpc_port
    if samples is not None:
        changes |= {"warmup_samples": [], "warmup_samples_path": str(samples.resolve())}
    return config.model_copy(update=changes)


def reachable(host: str) -> str:
    """An address that a client on this machine can use for a server bound to `host`."""
    return _LOOPBACK.get(host, host)


def serve(launch: Launch, say: Say) -> int:
    """Serve until the runtime ends or a signal ends it; returns the exit code to pass on."""
    with tempfile.TemporaryDirectory(prefix="slipway-run-") as directory:
        config_path = Path(directory) / "config.json"
        config_path.write_text(launch.config.to_json())
        message_path = Path(directory) / "termination-message"
        with _Child(_command(launch, config_path), launch.environment, message_path, say) as child:
            waiter = threading.Thread(target=_announce, args=(launch, child, say), daemon=True)
            waiter.start()
            code = child.wait()
            waiter.join()
        if code != 0:
            say(describe_end(code, message_path, child.killed))
        return code if code >= 0 else 128 - code


def _command(launch: Launch, config_path: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "slipway_runtime",
        "--config",
        str(config_path),
        "--host",
        launch.host,
        "--port",
        str(launch.port),
        "--admin-port",
        str(launch.admin_port),
        "--log-format",
        launch.log_format,
    ]


class _Child:
    """The runtime's process, with our signals passed on to it while the context is open."""

    def __init__(self, command: list[str], environment: Mapping[str, str], message_path: Path, say: Say) -> None:
        self._command = command
        self._environment = {**environment, TERMINATION_MESSAGE_VARIABLE: str(message_path)}
        self._say = say
        self._signals_seen = 0
        self._previous: dict[int, Any] = {}
        self.killed = False
        self.ended = threading.Event()

    def __enter__(self) -> _Child:
        self._process = subprocess.Popen(self._command, env=self._environment, start_new_session=True)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._previous[number] = signal.signal(number, self._pass_on)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self.ended.set()

    def wait(self) -> int:
        code = self._process.wait()
        self.ended.set()
        return code

    def _pass_on(self, _number: int, _frame: FrameType | None) -> None:
        self._signals_seen += 1
        if self._signals_seen == 1:
            self._say("stopping: requests in flight are answered first. Once more to stop at once.")
            self._process.terminate()
        else:
            self.killed = True
            self._process.kill()


def _announce(launch: Launch, child: _Child, say: Say) -> None:
    """Wait for readiness and say how to use the model; silent when the child ends before."""
    host = reachable(launch.host)
    while _get(host, launch.admin_port, READY_PATH) is None:
        if child.ended.wait(_POLL_SECONDS):
            return
    metadata = _get(host, launch.port, f"/v2/models/{launch.config.name}")
    if child.ended.is_set() or metadata is None:
        return
    say(f"ready. Try it:\n  {example_command(f'{launch.url}/v2/models/{launch.config.name}', json.loads(metadata))}")


def _get(host: str, port: int, path: str) -> bytes | None:
    """The body of a 200 answer, else None."""
    connection = HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    return body if response.status == 200 else None


def example_command(model_url: str, metadata: Mapping[str, Any]) -> str:
    """A curl command that gets an answer: a request of zeros, or the model's description where that is too long."""
    inputs = []
    elements = 0
    for tensor in metadata.get("inputs", ()):
        shape = [max(int(size), 1) if int(size) != -1 else 1 for size in tensor["shape"]]
        length = 1
        for size in shape:
            length *= size
        elements += length
        if elements > _SAMPLE_ELEMENTS_LIMIT:
            break
        zero: Any = {"BOOL": False, "BYTES": ""}.get(tensor["datatype"], 0)
        inputs.append({**{key: tensor[key] for key in ("name", "datatype")}, "shape": shape, "data": [zero] * length})
    if not inputs or elements > _SAMPLE_ELEMENTS_LIMIT:
        return f"curl -s {shlex.quote(model_url)}"
    body = json.dumps({"inputs": inputs}, separators=(",", ":"))
    return f"curl -s {shlex.quote(f'{model_url}/infer')} -H 'Content-Type: application/json' -d {shlex.quote(body)}"


def describe_end(code: int, message_path: Path, killed: bool) -> str:
    if killed:
        return "stopped at once; requests in flight were dropped."
    message = TerminationMessage.decode(message_path.read_text()) if message_path.exists() else None
    if message is not None:
        return f"{message.reason} in stage {message.stage}: {message.message}"
    if code < 0:
        return f"the runtime was ended by {signal.Signals(-code).name}. Its last log lines are above."
    return f"the runtime ended with exit code {code}. Its last log lines are above."
