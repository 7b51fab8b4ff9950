"""The benchmarks run as `make bench` does, for a second, against the real runtime."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import generator
from benchmarks.places import ROOT
from benchmarks.results import Results

pytestmark = [
    pytest.mark.runtime,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        shutil.which("go") is None or shutil.which("taskset") is None,
        reason="the load generator needs Go 1.26 (https://go.dev/dl/) and taskset (util-linux) on PATH",
    ),
]


def test_the_generator_passes_its_own_tests() -> None:
    assert "ok" in generator.go("test", "./...")
    generator.go("vet", "./...")


def test_a_page_with_right_answers_is_written_when_the_benchmarks_run(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    process = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "benchmarks",
                "run",
                "--only",
                "slipway,bare",
                "--workloads",
                "mlp",
                "--rounds",
                "1",
            ),
            *("--seconds", "0.5", "--warmup", "0", "--sections", "compare,memory,growth,generator"),
            *("--growth-requests", "1000", "--page", str(page)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert process.returncode == 0, process.stderr
    kept = re.search(r"^All samples: (.+)$", process.stderr, re.MULTILINE)
    assert kept is not None
    results = Results.model_validate_json(Path(kept[1]).read_text())
    assert results.absent == {}
    for cell in ("mlp/json/64/closed", "mlp/json/1/closed"):
        for server in ("slipway", "bare"):
            (outcome,) = results.samples[cell][server]
            assert outcome.right > 0
            assert (outcome.wrong, outcome.refused, outcome.errors) == (0, 0, 0), outcome
    assert results.memory["slipway"].own_bytes > results.memory["bare"].own_bytes > 0
    assert results.growth is not None
    assert results.growth.requests[-1] == 1000
    assert (results.generator_requests_per_second or 0) > 0
    assert "**Slipway" in page.read_text()
    Path(kept[1]).unlink()
