"""FastAPI with pydantic models in and out, the model called in the handler."""

from __future__ import annotations

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel
from served import DATATYPE, MODEL, Served

Row = {"mlp": list[float], "cnn": list[list[list[float]]], "encoder": list[int]}[MODEL]

app = FastAPI()
served = Served()


class Question(BaseModel):
    x: list[Row]  # type: ignore[valid-type]


class Answer(BaseModel):
    scores: list[list[float]]


@app.post("/predict")
async def predict(question: Question) -> Answer:
    # On the event loop: a thread would cost more than it gives where the cores are busy anyway.
    return Answer(scores=served.predict(np.asarray(question.x, DATATYPE)).tolist())
