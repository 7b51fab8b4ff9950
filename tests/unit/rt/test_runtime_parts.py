"""Small pure parts of the runtime: threads, redaction, samples, log lines, the example of Swagger."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from slipway_runtime.contract import Datatype, TensorSpec, WarmupSample
from slipway_runtime.http.wire import choose_request_id
from slipway_runtime.logs import JsonFormatter
from slipway_runtime.models.datatypes import FLOATS
from slipway_runtime.models.signature import Signature, SignatureError, signature_from_samples
from slipway_runtime.models.threads import usable_cpus
from slipway_runtime.models.warmup import generate
from slipway_runtime.redact import redact_uri
from slipway_runtime.serving.openapi import build_openapi

pytestmark = pytest.mark.unit

CPUS = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, CPUS),
        ({"cpu.max": "max 100000"}, CPUS),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "150000 100000"}, 1),
        ({"cpu.max": "99900000 100000"}, CPUS),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, CPUS),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
    ],
)
def test_threads_follow_the_containers_quota(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content + "\n")
    assert usable_cpus(tmp_path) == expected


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://user:pw@host:8443/a/b.pt?X-Sig=s#f", "https://host:8443/a/b.pt?…"),
        ("s3://bucket/key.pt", "s3://bucket/key.pt"),
        ("file:///a b.pt", "file:///a b.pt"),
        ("https://u:p@[bad/x?token=s", "[bad/x"),
    ],
)
def test_uris_are_shown_without_what_may_be_secret(uri: str, shown: str) -> None:
    assert redact_uri(uri) == shown


def sample(*specs: TensorSpec) -> WarmupSample:
    return WarmupSample(inputs=list(specs))


def spec(name: str, datatype: Datatype, *shape: int) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=list(shape))


def test_sizes_in_which_samples_differ_vary() -> None:
    samples = [sample(spec("t", Datatype.INT64, 1, 8)), sample(spec("t", Datatype.INT64, 1, 128))]
    assert signature_from_samples(samples).inputs == (spec("t", Datatype.INT64, 1, -1),)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (sample(spec("u", Datatype.INT64, 1, 8)), "same names"),
        (sample(spec("t", Datatype.FP32, 1, 8)), "same element type"),
        (sample(spec("t", Datatype.INT64, 8)), "number of dimensions"),
    ],
)
def test_samples_that_contradict_each_other_are_refused(other: WarmupSample, expected: str) -> None:
    with pytest.raises(SignatureError, match=expected):
        signature_from_samples([sample(spec("t", Datatype.INT64, 1, 8)), other])


@pytest.mark.parametrize("datatype", [d for d in Datatype if d is not Datatype.BYTES])
def test_generated_values_are_the_same_in_every_run(datatype: Datatype) -> None:
    first, second = (generate(datatype, [3, 5], np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (3, 5)
    assert first.any() == (datatype in FLOATS)


def test_log_lines_are_json_with_extras_and_traceback() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        record = logging.LogRecord("a.b", logging.ERROR, __file__, 1, "failed %s", ("here",), sys.exc_info())
    record.digest = "sha256:1"
    line = json.loads(JsonFormatter().format(record))
    assert (line["level"], line["message"], line["digest"]) == ("ERROR", "failed here", "sha256:1")
    assert line["time"].endswith("Z")
    assert "ValueError: why" in line["exception"]


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1", True), ("", False), ("a\nb", False), ("é", False), ("a" * 129, False)]
)
def test_request_ids_are_echoed_only_when_they_are_harmless(given: str, kept: bool) -> None:
    assert (choose_request_id(given.encode("latin-1")) == given) is kept


def test_swagger_shows_no_example_of_thousands_of_values() -> None:
    large = Signature((spec("image", Datatype.FP32, -1, 3, 224, 224),), (spec("y", Datatype.FP32, -1, 10),))
    content = build_openapi("m", large, "1")["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert "example" not in content
    assert "No example" in content["schema"]["description"]


def test_swagger_offers_an_image_where_the_model_takes_one() -> None:
    for item, expected in (((3, 224, 224), True), ((10,), False)):
        model = Signature((spec("image", Datatype.FP32, -1, *item),), (spec("y", Datatype.FP32, -1, 10),))
        content = build_openapi("m", model, "1")["paths"]["/predict"]["post"]["requestBody"]["content"]
        assert ("image/*" in content) is expected


_TOLD_TO_STOP_WHILE_IMPORTING = """
import os, signal, sys
own, os.getpid = os.getpid(), lambda: 1
class Importing:
    def find_spec(self, name, *more):
        if name == "click":
            os.kill(own, signal.SIGTERM)
sys.meta_path.insert(0, Importing())
import slipway_runtime.__main__
sys.exit("it went on")
"""


def test_process_1_can_be_told_to_stop_before_it_has_loaded_anything() -> None:
    done = subprocess.run([sys.executable, "-c", _TOLD_TO_STOP_WHILE_IMPORTING], timeout=60)
    assert done.returncode == 0
