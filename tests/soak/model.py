"""The model that is served. Importing this module imports torch."""

from __future__ import annotations

from pathlib import Path

import torch

from slipway.torchscript import save
from tests.runtime.archives import script


class Affine(torch.nn.Module):
    """3 x + 1 for `x` [rows, width], after about a millisecond of work for each row."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product = torch.eye(256)
        for _ in range(x.size(0)):
            product = torch.mm(product, product)
        return x * 3 + product[0, 0]


def save_affine(path: Path) -> Path:
    save(script(Affine()), path, inputs={"x": torch.zeros(1, 3)}, outputs=["y"], dynamic_axes={"x": (0, 1)})
    return path
