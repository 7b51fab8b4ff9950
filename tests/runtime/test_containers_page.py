"""The example of docs/containers.md answers, told only what the contract tells."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
import pytest
import torch
from fastapi import FastAPI

pytestmark = pytest.mark.runtime

PAGE = Path(__file__).parents[2] / "docs" / "containers.md"


class Digits(torch.nn.Module):
    """Two outputs, as the example expects: the label and the scores."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = image.flatten(1)
        return scores.argmax(1), scores


# torch prefers other formats from 2.15 on and still saves and loads this one.
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_the_fastapi_example_is_ready_after_its_warm_up_and_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = re.search(r"`app.py`:\n\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code is not None
    artifact = tmp_path / "model.pt"
    torch.jit.save(torch.jit.script(Digits()), artifact)
    monkeypatch.setenv("SLIPWAY_ARTIFACT_PATH", str(artifact))
    module: dict[str, object] = {"__name__": "app"}
    exec(compile(code[1], str(PAGE), "exec"), module)
    app = module["app"]
    assert isinstance(app, FastAPI)
    asyncio.run(_ask(app))


async def _ask(app: FastAPI) -> None:
    image = torch.zeros(1, 8, 8)
    image[0, 0, 5] = 1
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
        assert (await client.get("/healthz")).status_code == 503
        async with app.router.lifespan_context(app):
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.post("/predict", json={"images": [image.tolist()]})).json() == {"labels": [5]}
            assert (await client.post("/predict", json={"images": "no"})).status_code == 422
