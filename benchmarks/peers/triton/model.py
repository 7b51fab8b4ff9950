"""The shared model as Triton's Python backend calls it: one call of the model for the batch that Triton formed."""

from __future__ import annotations

import numpy as np
import triton_python_backend_utils as triton
from served import Served


class TritonPythonModel:
    def initialize(self, args: dict) -> None:
        self.served = Served()

    def execute(self, requests: list) -> list:
        inputs = [triton.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        scores = self.served.predict(np.concatenate(inputs) if len(inputs) > 1 else np.copy(inputs[0]))
        answers, start = [], 0
        for rows in inputs:
            part = scores[start : start + len(rows)]
            answers.append(triton.InferenceResponse([triton.Tensor("scores", part)]))
            start += len(rows)
        return answers
