"""Writes the models and what they answer: python -m benchmarks.makemodels FOLDER. Weights come from fixed seeds.

For each workload FOLDER gets NAME.pt, TorchScript with the signature that `slipway.torchscript.save` adds and that
other servers overlook, and NAME.npz with `inputs` and the eager module's `outputs`, one row for each request.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.workloads import DISTINCT_INPUTS, INPUT, OUTPUT, WORKLOADS, Workload
from slipway.torchscript import save

_SEED = 20
_TOKENS = 1000


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.around: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.around = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        after: torch.Tensor = functional.relu(self.body(x) + self.around(x))
        return after


class Encoder(nn.Module):
    """Token ids [N, 64] to scores [N, 16]."""

    def __init__(self, width: int = 256, layers: int = 6, heads: int = 8, length: int = 64) -> None:
        super().__init__()
        self.token = nn.Embedding(_TOKENS, width)
        self.position = nn.Parameter(torch.randn(length, width) * 0.1)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 16)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.token(tokens) + self.position
        for layer in self.layers:
            x = layer(x)
        scores: torch.Tensor = self.head(self.norm(x).mean(1))
        return scores


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.project(self.norm1(x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        attended = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.merge(attended)
        after: torch.Tensor = x + self.narrow(functional.gelu(self.widen(self.norm2(x))))
        return after


def resnet18() -> nn.Module:
    """The usual eighteen layers, with ten classes."""
    blocks = [
        Block(channels_in, channels_out, stride)
        for channels_in, channels_out, stride in (
            *((64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1)),
            *((128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)),
        )
    ]
    stem = (nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def module_of(workload: Workload) -> nn.Module:
    torch.manual_seed(_SEED)
    if workload.name == "mlp":
        module: nn.Module = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4))
    elif workload.name == "cnn":
        module = resnet18()
    else:
        module = Encoder()
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
    return spread(module.eval(), torch.from_numpy(inputs_of(workload)))


@torch.no_grad()
def spread(module: nn.Module, inputs: torch.Tensor) -> nn.Module:
    """Scale the last layer so that every output is around one, and each input has answers of its own."""
    head = [part for part in module.modules() if isinstance(part, nn.Linear)][-1]
    scores = module(inputs)
    mean, deviation = scores.mean(0), scores.std(0)
    head.weight /= deviation[:, None]
    head.bias.copy_((head.bias - mean) / deviation)
    return module


def inputs_of(workload: Workload) -> np.ndarray:
    random = np.random.default_rng(_SEED)
    shape = (DISTINCT_INPUTS, *workload.row_shape)
    if workload.datatype == "INT64":
        return random.integers(0, _TOKENS, shape)
    return random.standard_normal(shape, np.float32)


def make(folder: Path) -> None:
    for workload in WORKLOADS.values():
        module, inputs = module_of(workload), inputs_of(workload)
        with torch.no_grad():
            outputs = torch.cat([module(torch.from_numpy(row[None])) for row in inputs])
        # A constant model would hide mixed-up answers.
        smallest = (outputs[:, None] - outputs[None]).abs().amax(-1).add(torch.eye(len(inputs)) * 9).min()
        assert smallest > 10 * workload.tolerance, f"{workload.name}: inputs differ by {smallest:.2g} only"
        example = {INPUT: torch.from_numpy(inputs[:1])}
        save(module, folder / f"{workload.name}.pt", example, outputs=[OUTPUT])
        np.savez(folder / f"{workload.name}.npz", inputs=inputs, outputs=outputs.numpy())


if __name__ == "__main__":
    make(Path(sys.argv[1]))
