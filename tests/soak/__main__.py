"""python -m tests.soak --seconds 600 --seed N: the long form of tests/runtime/test_soak.py."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.soak.model import save_affine
from tests.soak.soak import soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="of load, %(default)s unless told")
    parser.add_argument("--seed", type=int, default=None, help="of everything random; a new one unless told")
    arguments = parser.parse_args()
    seed = random.randrange(2**31) if arguments.seed is None else arguments.seed
    print(f"Load for {arguments.seconds:g} s with the seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="slipway-soak-") as folder:
        report = asyncio.run(soak(save_affine(Path(folder) / "affine.pt"), Path(folder), arguments.seconds, seed))
    print(report.text())
    return 0 if report.passed else 1


sys.exit(main())
