"""Modules with something to tune, or with something that keeps a tuner from it."""

from __future__ import annotations

import torch


class Convolution(torch.nn.Module):
    """Work enough that variants differ; a normalisation that freezing folds away."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 32, 3, padding=1),
            torch.nn.BatchNorm2d(32),
            torch.nn.ReLU(),
            torch.nn.Conv2d(32, 64, 3, padding=1),
            torch.nn.BatchNorm2d(64),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
        )
        self.head = torch.nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = self.head(self.layers(image))
        return scores, scores.argmax(dim=1)


class Embedding(torch.nn.Module):
    """Text-like: two inputs whose lengths vary together, given in another order than forward's."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(64, 256)
        self.layer = torch.nn.Linear(256, 256)

    def forward(self, mask: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.layer(self.table(tokens))) * mask.unsqueeze(-1)
        return hidden.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)


class Attention(torch.nn.Module):
    """Splits into heads and joins them again, as every transformer does."""

    def __init__(self) -> None:
        super().__init__()
        self.project = torch.nn.Linear(16, 48)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.project(x.unflatten(1, (-1, 16))).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (4, -1)).transpose(1, 2) for part in parts)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(1)


class Wide(torch.nn.Module):
    """Enough work to be tuned at all."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(*(torch.nn.Linear(256, 256) for _ in range(40)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class ByName(Wide):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.layers(x)
        return {"second": hidden * 2, "first": hidden}


class Exponential(Wide):
    """Uses an operation that the exporter does not know."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.matrix_exp(self.layers(x)[:, :, None, None]).flatten(1)


class Dice(Wide):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x) + torch.rand(1)


class Branching(Wide):
    """Takes one way or the other by value, which a trace of one example would forget."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.layers(x)
        if bool(x.mean() > 0.3):
            return hidden * 10
        return hidden - 1


class Optional(Wide):
    def forward(self, scale: float = 2.0, x: torch.Tensor = torch.zeros(1, 256)) -> torch.Tensor:  # noqa: B008
        return self.layers(x) * scale


class Brain(Wide):
    """BF16 in and out."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x.float()).to(torch.bfloat16)


class InPlace(Wide):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.add_(1)
        return self.layers(x)
