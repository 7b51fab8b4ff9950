"""Ways to make a model fail for real: artifacts that break, a server that refuses, a process that hangs."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from tests.e2e.models import CREDENTIALS, Model
from tests.fixtures.waiting import wait_until
from tests.stack.images import REPOSITORY
from tests.stack.store import Store

if TYPE_CHECKING:
    from tests.cluster.lifecycle import Cluster

REFUSALS_PORT: Final = 7171

_SIGNATURE: Final = """
def signature():
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}]}
"""
HANDLERS: Final = {
    "raises-in-setup": "def setup(ctx):\n    raise OSError('no weights here')\ndef predict(batch):\n    return batch\n",
    "dies-in-setup": "import os\ndef setup(ctx):\n    os._exit(3)\ndef predict(batch):\n    return batch\n",
    "raises-in-warm-up": "def predict(batch):\n    raise RuntimeError('layers do not fit')\n",
    "raises-once-ready": """
        import urllib.error
        import urllib.request

        def predict(batch):
            try:
                ready = urllib.request.urlopen("http://127.0.0.1:8081/readyz", timeout=5).status == 200
            except urllib.error.HTTPError:
                ready = False
            if ready:
                raise RuntimeError("broken since it is ready")
            return {"y": batch["x"].sum(axis=1)}
        """,
    "dawdles-when-asked": """
        import time

        def predict(batch):
            if batch["x"].max() > 1000:
                time.sleep(3)
            return {"y": batch["x"].sum(axis=1)}
        """,
    "fills-its-disk": """
        import time

        def setup(ctx):
            with open("/tmp/heap", "wb") as file:
                for _ in range(64):
                    file.write(bytes(2**20))
            time.sleep(600)

        def predict(batch):
            return batch
        """,
}
"""What each handler does, by its name."""


def start_refusals(cluster: Cluster) -> str:
    """The server's base URI; `tests.stack.refusals` says what it answers. It ends with the cluster."""
    base = f"http://{cluster.node_address}:{REFUSALS_PORT}"
    script = REPOSITORY / "tests" / "stack" / "refusals.py"
    if not _answers(base):
        argv: list[str | Path] = [sys.executable, script, str(cluster.node_address), str(REFUSALS_PORT)]
        cluster.run_on_node("refusals", argv)
        wait_until(lambda: _answers(base), f"{base} answers")
    return base


def _answers(base: str) -> bool:
    try:
        return httpx.get(f"{base}/404", timeout=1).status_code == 404
    except httpx.TransportError:
        return False


def upload_handler(store: Store, folder: Path, name: str) -> dict[str, Any]:
    """The artifact block of a handler from `HANDLERS`."""
    path = folder / f"{name}.py"
    path.write_text(textwrap.dedent(HANDLERS[name]) + _SIGNATURE)
    uri = store.upload(path, f"faults/{name}/handler.py")
    return {"uri": uri, "format": "Python", "credentials": {"secretRef": {"name": CREDENTIALS}}}


def upload_garbage(store: Store, folder: Path) -> dict[str, Any]:
    path = folder / "garbage.bin"
    path.write_bytes(b"\x00garbage that is no model" * 100)
    uri = store.upload(path, "faults/garbage.bin")
    return {"uri": uri, "credentials": {"secretRef": {"name": CREDENTIALS}}}


@contextmanager
def frozen(model: Model) -> Iterator[None]:
    """The processes of the model's only pod stand still, so that probes get no answer."""
    (pod,) = model.pods().values()
    container = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    found = [number for number in _numbers() if container in _read(f"/proc/{number}/cgroup")]
    assert found, f"no process of container {container}"
    for number in found:
        os.kill(number, signal.SIGSTOP)
    try:
        yield
    finally:
        for number in found:
            try:
                os.kill(number, signal.SIGCONT)
            except ProcessLookupError:
                continue


def _numbers() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
