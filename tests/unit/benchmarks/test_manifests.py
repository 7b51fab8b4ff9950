"""The manifests of the servers that are compared: complete, pinned, and refused with the place when they are wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.failure import BenchmarkError
from benchmarks.peers import MANIFEST, Dialect, Role, fill, read_peer, read_peers
from benchmarks.places import PEERS
from benchmarks.workloads import WORKLOADS

pytestmark = pytest.mark.unit

ALL = read_peers()
WORDS = {
    "python": "p",
    "here": "h",
    "port": 1,
    "model": "mlp",
    "archive": "a",
    "threads": 1,
    "workers": 0,
    "scratch": "s",
}


def write(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / MANIFEST).write_text(text)
    return folder


def test_every_promised_server_takes_part_when_the_manifests_are_read() -> None:
    named = {name for name, peer in ALL.items() if peer.role is Role.PEER}
    assert named == {
        *(
            "triton",
            "triton-unbatched",
            "litserve",
            "bentoml",
            "torchserve",
            "mlserver",
            "kserve",
            "rayserve",
            "fastapi",
        ),
    }
    assert {name for name, peer in ALL.items() if peer.role is Role.FLOOR} == {"bare", "uvicorn", "torch"}
    assert next(iter(ALL)) == "slipway"


@pytest.mark.parametrize("name", ALL)
def test_a_manifest_can_be_acted_on_when_it_is_one_of_ours(name: str) -> None:
    peer = ALL[name]
    for template in (*peer.command, *peer.variables.values()):
        assert "{" not in fill(WORDS, template)
    assert set(peer.models) <= set(WORKLOADS)
    assert peer.speaks_lines or peer.routes()
    assert all("{" not in route.path.format(model="mlp") for route in peer.routes())
    assert peer.binary_route is None or peer.binary_route.dialect is Dialect.OIP_BINARY
    assert peer.note


@pytest.mark.parametrize("name", [name for name, peer in ALL.items() if peer.environment == "own"])
def test_everything_a_server_needs_is_pinned_when_installed(name: str) -> None:
    folder = PEERS / ALL[name].folder
    lines = (folder / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not re.match(r"^[\w.-]+(\[[\w,-]+\])?==[\w.+!]+( ; .+)?$", line)] == []
    pinned = {re.split(r"[=\[]", line)[0].lower().replace("_", "-") for line in lines}
    asked = (folder / "requirements.in").read_text().splitlines()
    assert {re.split(r"[=<\[ ]", line)[0].lower() for line in asked} <= pinned
    assert "torch" not in pinned


def test_a_variant_is_its_server_with_other_words_when_read() -> None:
    plain, other = ALL["triton"], ALL["triton-unbatched"]
    assert (other.folder, other.command) == (plain.folder, plain.command)
    assert (other.title, other.variables) != (plain.title, plain.variables)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("title = ", "Invalid value"),
        ('title = "x"\nrole = "peer"\n', "command"),
        ('title = "x"\nrole = "king"\ncommand = ["x"]\n', "role"),
        ('title = "x"\nrole = "peer"\ncommand = ["x"]\ncolour = "red"\n', "colour"),
        ('title = "x"\nrole = "peer"\ncommand = ["x"]\njson = { path = "x", dialect = "plain" }\n', "json.path"),
    ],
)
def test_a_manifest_is_refused_with_file_and_field_when_wrong(tmp_path: Path, text: str, place: str) -> None:
    folder = write(tmp_path / "other", text)
    with pytest.raises(BenchmarkError, match=re.escape(place)) as refused:
        read_peer(folder)
    assert str(folder / MANIFEST) in str(refused.value)


def test_an_unknown_word_is_named_when_a_command_is_filled_in() -> None:
    with pytest.raises(BenchmarkError, match=r"'gpu' is none of the words archive, here"):
        fill(WORDS, "{gpu}")


def test_a_server_without_its_program_says_so_when_asked(tmp_path: Path) -> None:
    text = 'title = "x"\nrole = "peer"\ncommand = ["x"]\nneeds = ["sh", "no-such-program"]\n'
    assert read_peer(write(tmp_path / "other", text)).missing() == "needs no-such-program on PATH"
