"""Train a small CNN on scikit-learn's handwritten digits and save it as an artifact that Slipway serves.

Writes the TorchScript archive with its signature, and beside it held-out digits as JSON for clients:
    python examples/digits/train.py --output model.pt
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from slipway import torchscript

SEED = 7
EPOCHS = 20
BATCH_SIZE = 64
LEARNING_RATE = 5e-3
HELD_OUT_SHARE = 0.2
SAMPLES = 20
"""Held-out digits that are written for clients."""
REQUIRED_ACCURACY = 0.97
INK_LEVELS = 16.0
"""The data set counts ink per pixel from 0 to 16."""


class DigitClassifier(nn.Module):
    """Image float32 [n, 1, 8, 8] with ink from 0 to 1 → label int64 [n] and probabilities float32 [n, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(32 * 4 * 4, 10),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = self.layers(image).softmax(dim=1)
        return probabilities.argmax(dim=1), probabilities


def load_data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, held-out images and labels."""
    digits = load_digits()
    images = torch.tensor(digits.images / INK_LEVELS, dtype=torch.float32).unsqueeze(1)
    labels = torch.tensor(digits.target)
    split = train_test_split(images, labels, test_size=HELD_OUT_SHARE, random_state=SEED, stratify=digits.target)
    train_images, held_out_images, train_labels, held_out_labels = split
    return train_images, train_labels, held_out_images, held_out_labels


def train(images: Tensor, labels: Tensor) -> DigitClassifier:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # the layers are so small that threads would mostly wait for each other
    model = DigitClassifier()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH_SIZE):
            loss = nn.functional.cross_entropy(model.layers(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return model.eval()


@torch.inference_mode()
def accuracy(model: DigitClassifier, images: Tensor, labels: Tensor) -> float:
    predicted, _ = model(images)
    return float((predicted == labels).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a classifier of handwritten digits.")
    parser.add_argument("--output", type=Path, default=Path("model.pt"), help="where the artifact goes (%(default)s)")
    output: Path = parser.parse_args().output
    output.parent.mkdir(parents=True, exist_ok=True)

    images, labels, held_out_images, held_out_labels = load_data()
    model = train(images, labels)
    held_out_accuracy = accuracy(model, held_out_images, held_out_labels)
    print(f"Held-out accuracy: {held_out_accuracy:.3f} on {len(held_out_labels)} digits.")
    if held_out_accuracy < REQUIRED_ACCURACY:
        raise SystemExit(f"train.py: got an accuracy of {held_out_accuracy:.3f}, expected {REQUIRED_ACCURACY}.")

    torchscript.save(model, output, inputs={"image": held_out_images[:1]}, outputs=["label", "probabilities"])
    samples = [
        {"image": image.tolist(), "label": int(label)}
        for image, label in zip(held_out_images[:SAMPLES], held_out_labels[:SAMPLES], strict=True)
    ]
    (output.parent / "samples.json").write_text(json.dumps(samples))
    print(f"Wrote {output} and {output.parent / 'samples.json'}.")


if __name__ == "__main__":
    main()
