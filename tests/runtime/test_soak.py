"""Every kind of client and fault at once, for a short while; `make soak` does it for ten minutes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from tests.soak.soak import soak

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(600)]

_SECONDS: Final = 20.0
_SEED: Final = 4


@pytest.mark.feature("rows-never-mix", "worker-restart", "worker-requests")
def test_nothing_is_wrong_hangs_or_leaks_among_hostile_clients_and_dying_workers(tmp_path: Path) -> None:
    from tests.soak.model import save_affine

    report = asyncio.run(soak(save_affine(tmp_path / "affine.pt"), tmp_path, _SECONDS, _SEED))
    assert report.passed, report.text()
    assert report.faults.get("killed"), "no worker was killed, so nothing is shown"
