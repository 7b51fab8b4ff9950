"""The handler in examples/ does what its page says, from the archive that its page makes."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import httpx
import numpy as np
import pytest
import torch
import tritonclient.http
from PIL import Image
from tritonclient.utils import InferenceServerException

from slipway.torchscript import save
from slipway_runtime.contract import Format
from slipway_runtime.models.load import load_model, warm_up_model
from slipway_runtime.models.model import Model, RowError, RowsFailedError
from tests.runtime.conftest import StartRuntime

pytestmark = [
    pytest.mark.runtime,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:.torch.jit.*deprecated:FutureWarning"),
]

HANDLER: Final = Path(__file__).parents[2] / "examples/pictures/handler.py"


class Brightness(torch.nn.Module):
    """In the place of trained weights: the digit is the brightness in tenths, the more extreme the more probable."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        label = (image.mean(dim=[1, 2, 3]) * 9).round().clamp(0, 9).to(torch.int64)
        probabilities = torch.nn.functional.one_hot(label, 10) * ((label - 4.5).abs() / 4.5).unsqueeze(1)
        return label, probabilities.to(torch.float32)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    save(Brightness(), tmp_path / "model.pt", inputs={"image": torch.zeros(1, 1, 8, 8)}, outputs=["label", "p"])
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        archive.write(HANDLER, "handler.py")
        archive.write(tmp_path / "model.pt", "model.pt")
    monkeypatch.setenv("SLIPWAY_PARAM_LEAST_PROBABILITY", "0.5")
    model = load_model(tmp_path / "pictures.zip", Format.PYTHON, [])
    yield model
    model.close()


def picture(level: int, kind: str, size: int = 30) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (size, size), (level, level, level)).save(content, kind)
    return content.getvalue()


def test_pictures_become_digits_and_what_is_none_is_refused_alone(model: Model) -> None:
    assert warm_up_model(model, []) == model.signature
    pictures = [picture(255, "PNG"), picture(0, "JPEG", 200), b"no picture", picture(128, "PNG"), b""]
    with pytest.raises(RowsFailedError) as raised:
        model.predict({"picture": np.array(pictures, np.object_)})
    refusal = RowError(400, "handler_rejected", "picture: the bytes are no picture. Expected a PNG or a JPEG.")
    assert raised.value.rows[2] == raised.value.rows[4] == refusal
    assert (raised.value.rows[3].status, raised.value.rows[3].code) == (422, "no_digit")
    assert raised.value.outputs["digit"][:2].tolist() == [9, 0]
    np.testing.assert_allclose(raised.value.outputs["probability"][:2], [1, 1])


def test_the_archive_is_served_and_a_bad_picture_is_answered_with_its_reason(
    model: Model, tmp_path: Path, start_runtime: StartRuntime
) -> None:
    server = start_runtime("--uri", f"file://{tmp_path}/pictures.zip", "--format", "Python", "--name", "pictures")
    server.wait_until_ready()
    with tritonclient.http.InferenceServerClient(server.address) as client:
        metadata = client.get_model_metadata("pictures")
        assert metadata["inputs"] == [{"name": "picture", "datatype": "BYTES", "shape": [-1]}]
        asked = tritonclient.http.InferInput("picture", [2], "BYTES")
        asked.set_data_from_numpy(np.array([picture(255, "PNG"), picture(0, "JPEG")], np.object_))
        assert client.infer("pictures", [asked]).as_numpy("digit").tolist() == [9, 0]
        asked = tritonclient.http.InferInput("picture", [1], "BYTES")
        asked.set_data_from_numpy(np.array([b"no picture"], np.object_))
        with pytest.raises(InferenceServerException, match="the bytes are no picture") as raised:
            client.infer("pictures", [asked])
        assert raised.value.status() == "400"
    server.interrupt()
    assert server.wait() == 0


ASYNC = """
import asyncio
from pathlib import Path

class Handler:
    async def setup(self, ctx):
        starts = Path(ctx.params["folder"]) / "starts"
        starts.write_text(starts.read_text() + "x" if starts.exists() else "x")
        self.sick = Path(ctx.params["folder"]) / "sick"

    def signature(self):
        return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}],
                "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}]}

    async def preprocess(self, item, ctx):
        await asyncio.sleep(0)
        if item["x"][0] < 0:
            raise ValueError("x must not be negative")
        return item

    async def predict(self, batch, ctx):
        if (batch["x"] == 13).any():
            raise RuntimeError("unlucky")
        if (batch["x"] == 500).any():
            raise ValueError("500 is not taken")
        return {"y": batch["x"][:, 0] * 2}

    def health(self):
        if self.sick.exists():
            self.sick.unlink()
            return "it feels sick"
"""


def test_a_handler_that_turns_unwell_is_started_anew(tmp_path: Path, start_runtime: StartRuntime) -> None:
    (tmp_path / "handler.py").write_text(ASYNC)
    flags = ("--uri", f"file://{tmp_path}", "--format", "Python")
    server = start_runtime(*flags, environment={"SLIPWAY_PARAM_FOLDER": str(tmp_path)}).wait_until_ready()
    with httpx.Client(base_url=server.uri) as client:
        assert client.post("/predict", json=[[1], [2]]).json()["outputs"] == {"y": [2, 4]}
        refused = client.post("/predict", json=[[1], [-1]])
        assert (refused.status_code, refused.json()["code"]) == (400, "handler_rejected")
        assert "x must not be negative" in refused.json()["error"]
        starts = len((tmp_path / "starts").read_text())
        (tmp_path / "sick").touch()
        deadline = time.monotonic() + 60
        while len((tmp_path / "starts").read_text()) == starts:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        server.wait_until_ready()
        assert client.post("/predict", json=[[3]]).json()["outputs"] == {"y": [6]}
    assert any("it feels sick" in line["message"] for line in server.log)


@pytest.mark.feature("item-errors")
def test_among_many_clients_each_gets_its_own_answer_or_its_own_error(
    tmp_path: Path, start_runtime: StartRuntime
) -> None:
    (tmp_path / "handler.py").write_text(ASYNC)
    flags = ("--uri", f"file://{tmp_path}", "--format", "Python")
    server = start_runtime(*flags, environment={"SLIPWAY_PARAM_FOLDER": str(tmp_path)}).wait_until_ready()
    bad = {-1.0: (400, "handler_rejected"), 13.0: (500, "model_error"), 500.0: (400, "handler_rejected")}
    values = [*bad, *(float(value) for value in range(100, 140))] * 5

    def ask(value: float) -> tuple[int, object]:
        response = client.post("/predict", json=[[value]])
        content = response.json()
        return response.status_code, content["code"] if "code" in content else content["outputs"]["y"]

    with httpx.Client(base_url=server.uri, timeout=60) as client, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, values))
        workers = int(client.get("/v2/models/model").json()["properties"]["engine_workers"])
    assert answers == [bad.get(value, (200, [2 * value])) for value in values]
    tracebacks = sum(line["message"].startswith("The handler failed:") for line in server.log)
    assert 1 <= tracebacks <= workers, "one for each process, and no flood"
