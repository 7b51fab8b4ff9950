"""The shared model as TorchServe calls it."""

from __future__ import annotations

import numpy as np
from served import DATATYPE, Served


class Handler:
    def initialize(self, context) -> None:
        self.served = Served()

    def handle(self, data: list, context) -> list:
        rows = np.concatenate([np.asarray(item["x"] if "x" in item else item["body"]["x"], DATATYPE) for item in data])
        return [{"scores": [scores]} for scores in self.served.predict(rows).tolist()]
