"""Small TorchScript archives, each of one kind. Importing this module imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from slipway.torchscript import save
from slipway_runtime.models.torchscript import quiet_deprecation

_jit: Any = torch.jit


class Linear(torch.nn.Module):
    """x [batch, 4] to scores [batch, 3], with weights that a test can compute with."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)
        with torch.no_grad():
            self.layer.weight.copy_(torch.arange(12, dtype=torch.float32).reshape(3, 4))
            self.layer.bias.copy_(torch.tensor([0.5, -0.5, 0.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class Mixed(torch.nn.Module):
    """Several inputs of several types, several outputs by name."""

    def forward(self, numbers: torch.Tensor, indices: torch.Tensor, flags: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            "sums": numbers.sum(dim=1) + indices.sum(dim=1),
            "counts": flags.to(torch.int64).sum(dim=1),
            "inverse": 1.0 / numbers,
            "halves": numbers.to(torch.float16) / 2,
            "any": flags.any(dim=1),
        }


class Simple(torch.nn.Module):
    """What the examples of Triton's documentation are written for."""

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return first + second, first - second


class Brightness(torch.nn.Module):
    """The mean of each channel of an image."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.mean(dim=(2, 3))


class Slow(torch.nn.Module):
    """Multiplies large matrices as many times as the input says: long, cancellable by nobody, without Python."""

    def forward(self, rounds: torch.Tensor) -> torch.Tensor:
        product = torch.eye(256)
        for _ in range(int(rounds.sum())):
            product = torch.mm(product, product)
        return rounds + product[0, 0] - 1


class Demanding(torch.nn.Module):
    """Fails on a negative integer, as a model does that meets an index it has no row for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x < 0).any()):
            raise ValueError("negative input")
        return x.to(torch.float32).sqrt()


class Varying(torch.nn.Module):
    """Text-like: any batch, any length."""

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return tokens * mask, (tokens * mask).sum(dim=1)


def script(module: torch.nn.Module) -> Any:
    with quiet_deprecation():
        return _jit.script(module.eval())


def save_plain(module: torch.nn.Module, path: Path, files: dict[str, str] | None = None) -> Path:
    """Without a signature, as an archive from elsewhere."""
    with quiet_deprecation():
        _jit.save(script(module), str(path), _extra_files=files or {})
    return path


def save_linear(path: Path) -> Path:
    save(Linear(), path, inputs={"x": torch.zeros(1, 4)}, outputs=["scores"])
    return path


def save_mixed(path: Path) -> Path:
    examples = {
        "numbers": torch.ones(1, 2),
        "indices": torch.zeros(1, 3, dtype=torch.int64),
        "flags": torch.zeros(1, 2, dtype=torch.bool),
    }
    save(script(Mixed()), path, inputs=examples)
    return path


def save_simple(path: Path) -> Path:
    examples = {name: torch.zeros(1, 16, dtype=torch.int32) for name in ("INPUT0", "INPUT1")}
    save(Simple(), path, inputs=examples, outputs=["OUTPUT0", "OUTPUT1"])
    return path


def save_brightness(path: Path) -> Path:
    save(Brightness(), path, inputs={"image": torch.zeros(1, 3, 8, 8)}, outputs=["means"])
    return path


def save_slow(path: Path) -> Path:
    save(script(Slow()), path, inputs={"rounds": torch.zeros(1, 1, dtype=torch.int64)}, outputs=["answer"])
    return path


def save_demanding(path: Path) -> Path:
    save(script(Demanding()), path, inputs={"x": torch.ones(1, 2, dtype=torch.int64)}, outputs=["root"])
    return path


class Summing(torch.nn.Module):
    """One answer for the whole batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(dim=0)


def save_summing(path: Path) -> Path:
    save(Summing(), path, inputs={"x": torch.ones(1, 2)}, outputs=["sum"])
    return path
