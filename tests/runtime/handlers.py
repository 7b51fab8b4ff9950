"""Handlers from source text, loaded as the runtime loads them and closed at the end."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from slipway_runtime.contract import Datatype, Format, TensorSpec, WarmupSample
from slipway_runtime.models.load import load_model
from slipway_runtime.models.model import Model

Load = Callable[..., Model]
"""Source in, the loaded handler out; `signature=False` leaves `SIGNATURE` away."""

SIGNATURE: Final = """
def signature():
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}]}
"""


@contextmanager
def loading(folder: Path) -> Iterator[Load]:
    loaded: list[Model] = []

    def load(source: str, *samples: WarmupSample, signature: bool = True) -> Model:
        path = folder / "code.py"
        path.write_text(textwrap.dedent(source) + (SIGNATURE if signature else ""))
        loaded.append(load_model(path, Format.PYTHON, list(samples)))
        return loaded[-1]

    yield load
    for model in loaded:
        model.close()


def sample(**inputs: tuple[Datatype, list[int]]) -> WarmupSample:
    return WarmupSample(
        inputs=[TensorSpec(name=name, datatype=kind, shape=shape) for name, (kind, shape) in inputs.items()]
    )
