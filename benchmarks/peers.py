"""The servers that take part: one folder each, with a manifest that says how to start it and what it speaks."""

from __future__ import annotations

import shutil
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmarks.failure import BenchmarkError
from benchmarks.places import PEERS

MANIFEST: Final = "peer.toml"


class Role(StrEnum):
    SUBJECT = "subject"
    """What is measured: this project's runtime."""
    PEER = "peer"
    FLOOR = "floor"
    """Not a model server: what the machine can do without one."""


class Dialect(StrEnum):
    """How a request and its answer are written; see wire.py."""

    PLAIN = "plain"
    """{"x": [[…]]} and {"scores": [[…]]}."""
    PLAIN_LIST = "plain-list"
    """{"x": [[…]]} and [[…]]."""
    OIP_JSON = "oip-json"
    OIP_BINARY = "oip-binary"


class Route(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Annotated[str, Field(pattern=r"^/\S*$")]
    """With `{model}` for the model's name."""
    dialect: Dialect


class Variant(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    note: str = ""
    variables: dict[str, str] = {}
    models: list[str] = []
    """Left out: those of the server that it is a variant of."""


class Peer(BaseModel):
    """One server's manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    role: Role
    environment: Literal["own", "torch", "checkout"] = "own"
    """Its own pinned requirements over the shared torch; torch alone; or the checkout's .venv."""
    distribution: str | None = None
    """The package whose version the table shows."""
    command: Annotated[list[str], Field(min_length=1)]
    """Words with {python}, {here} (the manifest's folder), {port}, {model}, {archive} (the TorchScript file),
    {threads}, {workers} and {scratch} (a folder of this start)."""
    variables: dict[str, str] = {}
    """Of its environment; the same words are filled in."""
    needs: list[str] = []
    """Programs that must be on PATH."""
    models: list[str] = ["mlp", "cnn", "encoder"]
    json_route: Annotated[Route | None, Field(alias="json")] = None
    binary_route: Annotated[Route | None, Field(alias="binary")] = None
    start_seconds: Annotated[float, Field(gt=0, le=600)] = 120
    speaks_lines: bool = False
    """It serves nothing and measures itself when a line comes on its standard input."""
    variants: list[Variant] = []
    """The same server set up in another way, as rows of their own."""
    folder: str = ""
    """Where the manifest lies; `name` unless this is a variant."""
    note: str = ""
    """What a reader must know about how it is set up."""

    def route(self, wire: str) -> Route | None:
        return self.binary_route if wire == "binary" else self.json_route

    def routes(self) -> list[Route]:
        return [route for route in (self.json_route, self.binary_route) if route]

    def missing(self) -> str | None:
        """Why it cannot start on this machine, as far as that is known before trying."""
        absent = [program for program in self.needs if shutil.which(program) is None]
        return f"needs {', '.join(absent)} on PATH" if absent else None


def fill(words: dict[str, Any], template: str) -> str:
    """`template` with its words filled in. Raises `BenchmarkError` for a word that nobody knows."""
    try:
        return template.format(**words)
    except (KeyError, IndexError, ValueError) as error:
        raise BenchmarkError(f"{template!r}: {error} is none of the words {', '.join(sorted(words))}.") from error


def read_peer(folder: Path) -> Peer:
    """The manifest in `folder`. Raises `BenchmarkError` with the file and the field."""
    path = folder / MANIFEST
    try:
        return Peer.model_validate({"name": folder.name, "folder": folder.name, **tomllib.loads(path.read_text())})
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise BenchmarkError(f"{path}: {error}") from error


def read_peers(folder: Path = PEERS) -> dict[str, Peer]:
    """All peers and their variants by name: the subject first, then peers, then floors."""
    order = list(Role)
    peers: list[Peer] = []
    for path in sorted(folder.glob(f"*/{MANIFEST}")):
        peer = read_peer(path.parent)
        peers.append(peer)
        peers += (peer.model_copy(update=variant.model_dump(exclude_unset=True)) for variant in peer.variants)
    peers.sort(key=lambda peer: order.index(peer.role))
    return {peer.name: peer for peer in peers}
