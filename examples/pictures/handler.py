"""Handwritten digits from pictures: PNG or JPEG in, the digit and its probability out.

Beside this file lies `model.pt`, the archive that examples/digits/train.py writes. Both go into one archive:
    zip --junk-paths pictures.zip examples/pictures/handler.py build/digits/model.pt
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from slipway.handler import Context, RowError

SIZE = 8
MOST_PIXELS = 16_000_000


class Handler:
    def setup(self, ctx: Context) -> None:
        """Once, before anything else. Whatever it raises ends the start and is shown with its line."""
        self.model = torch.jit.load(ctx.model_dir / "model.pt", map_location=ctx.device).eval()
        self.device = ctx.device
        self.least = float(ctx.params.get("least_probability", "0"))

    def signature(self) -> dict[str, Any]:
        """What clients send and get; -1 first is the batch."""
        return {
            "inputs": [{"name": "picture", "datatype": "BYTES", "shape": [-1]}],
            "outputs": [
                {"name": "digit", "datatype": "INT64", "shape": [-1]},
                {"name": "probability", "datatype": "FP32", "shape": [-1]},
            ],
        }

    def example(self) -> dict[str, Any]:
        """One item that it answers: the warm-up cannot make up a picture."""
        picture = io.BytesIO()
        Image.new("L", (SIZE, SIZE)).save(picture, "PNG")
        return {"picture": picture.getvalue()}

    def preprocess(self, item: dict[str, Any], ctx: Context) -> dict[str, Any]:
        """One item. A ValueError refuses this item alone, and its text is the client's answer."""
        try:
            picture = Image.open(io.BytesIO(item["picture"]))
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError(
                    f"picture: got {picture.width} x {picture.height} pixels, expected at most 16 million."
                )
            grey = picture.convert("L").resize((SIZE, SIZE), Image.Resampling.BOX)
        except (UnidentifiedImageError, OSError) as error:
            raise ValueError("picture: the bytes are no picture. Expected a PNG or a JPEG.") from error
        return {"image": np.asarray(grey, np.float32)[np.newaxis] / 255}

    def predict(self, batch: dict[str, Any], ctx: Context) -> dict[str, Any]:
        """All items of the batch, stacked."""
        with torch.inference_mode():
            label, probabilities = self.model(torch.from_numpy(batch["image"]).to(self.device))
        return {"label": label, "probability": probabilities.amax(dim=1)}

    def postprocess(self, row: dict[str, Any], ctx: Context) -> dict[str, Any] | RowError:
        """One answer, or an error with a status of its own."""
        if row["probability"] < self.least:
            return RowError(422, "no_digit", f"No digit is more probable than {row['probability']:.0%}.")
        return {"digit": row["label"], "probability": row["probability"]}
