"""Encoded bodies come back as they went, within their limit, or are refused with a reason."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_runtime.protocol.compression import MAX_MEMBERS, choose_encoding, compress, decompress
from slipway_runtime.protocol.errors import ApiError

pytestmark = pytest.mark.unit

SOME = settings(max_examples=60, deadline=None)
BODY = b'{"inputs": []}' * 50


@SOME
@given(st.lists(st.binary(max_size=200), max_size=4), st.sampled_from([b"gzip", b"deflate"]))
def test_parts_survive_compression(parts: list[bytes], encoding: bytes) -> None:
    packed = b"".join(compress(parts, encoding))
    assert decompress(packed, encoding, 10_000) == b"".join(parts)


@pytest.mark.parametrize("encoding", [b"gzip", b"GZIP", b" x-gzip "])
def test_gzip_is_read_under_each_of_its_names(encoding: bytes) -> None:
    assert decompress(gzip.compress(BODY), encoding, len(BODY)) == BODY


def test_gzip_in_several_members_is_one_body() -> None:
    assert decompress(gzip.compress(b"ab") + gzip.compress(b"cd"), b"gzip", 4) == b"abcd"


def test_streams_longer_than_what_is_read_at_once_are_one_body() -> None:
    noise = random.Random(1).randbytes(100_000)
    for encoding, packed in ((b"gzip", gzip.compress(noise) * 3), (b"deflate", zlib.compress(noise * 3))):
        assert decompress(packed, encoding, 300_000) == noise * 3
        with pytest.raises(ApiError, match="ends too early"):
            decompress(packed[:-1], encoding, 300_000)


def test_a_body_of_nothing_but_streams_is_refused() -> None:
    """Each costs more than it carries: a few megabytes of empty ones kept a thread busy for minutes."""
    empty = gzip.compress(b"", mtime=0)
    assert decompress(empty * MAX_MEMBERS, b"gzip", 1) == b""
    with pytest.raises(ApiError, match="more than 16384 streams") as caught:
        decompress(empty * (MAX_MEMBERS + 1), b"gzip", 1)
    assert (caught.value.status, caught.value.code) == (400, "invalid_encoding")


def test_deflate_is_read_with_and_without_its_envelope() -> None:
    bare = zlib.compressobj(6, zlib.DEFLATED, -15)
    assert decompress(bare.compress(BODY) + bare.flush(), b"deflate", len(BODY)) == BODY
    assert decompress(zlib.compress(BODY), b"deflate", len(BODY)) == BODY


@pytest.mark.parametrize("encoding", [b"", b"identity", b"Identity"])
def test_no_encoding_leaves_the_body_as_it_is(encoding: bytes) -> None:
    assert decompress(BODY, encoding, 1) is BODY


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"gzip, deflate", b"\xff"])
def test_another_encoding_is_refused(encoding: bytes) -> None:
    with pytest.raises(ApiError, match="expected gzip, deflate or none") as caught:
        decompress(BODY, encoding, 10)
    assert (caught.value.status, caught.value.code) == (415, "unsupported_encoding")


@pytest.mark.parametrize("size", [1001, 100_000_000])
def test_a_body_that_grows_beyond_the_limit_is_refused(size: int) -> None:
    bomb = gzip.compress(bytes(size))
    with pytest.raises(ApiError, match="larger than 1000 bytes") as caught:
        decompress(bomb, b"gzip", 1000)
    assert (caught.value.status, caught.value.code) == (413, "decompressed_too_large")
    assert decompress(gzip.compress(bytes(1000)), b"gzip", 1000) == bytes(1000)


def test_members_together_keep_the_limit() -> None:
    with pytest.raises(ApiError, match="larger than 1000 bytes"):
        decompress(gzip.compress(bytes(600)) * 2, b"gzip", 1000)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"", b"gzip"),
        (b"plain text", b"gzip"),
        (gzip.compress(BODY)[:-9], b"gzip"),
        (gzip.compress(BODY) + b"tail", b"gzip"),
        (zlib.compress(BODY) + b"tail", b"deflate"),
        (zlib.compress(BODY)[:-1], b"deflate"),
    ],
    ids=["nothing", "text", "cut-gzip", "gzip-and-more", "deflate-and-more", "cut-deflate"],
)
def test_a_body_that_is_not_what_its_header_says_is_refused(body: bytes, encoding: bytes) -> None:
    with pytest.raises(ApiError, match="as Content-Encoding says") as caught:
        decompress(body, encoding, 10_000)
    assert (caught.value.status, caught.value.code) == (400, "invalid_encoding")


@SOME
@given(st.binary(max_size=80), st.sampled_from([b"gzip", b"deflate"]), st.booleans())
def test_any_body_is_decompressed_or_refused(noise: bytes, encoding: bytes, begins_well: bool) -> None:
    start = b"".join(compress([BODY], encoding))[:20] if begins_well else b""
    try:
        size, status = len(decompress(start + noise, encoding, 2000)), 200
    except ApiError as error:
        size, status = 0, error.status
    assert size <= 2000
    assert status in (200, 400, 413)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (b"gzip", b"gzip"),
        (b"deflate", b"deflate"),
        (b"deflate, gzip", b"gzip"),
        (b"gzip;q=0.5, deflate;q=0.8", b"deflate"),
        (b"gzip; q=0, deflate", b"deflate"),
        (b"GZIP;Q=1", b"gzip"),
        (b"br, zstd", None),
        (b"", None),
        (b"*", None),
        (b"identity", None),
        (b"gzip;q=0", None),
        (b"gzip;q=nan", None),
        (b"gzip;q=loud", None),
    ],
)
def test_an_answer_is_compressed_as_the_client_prefers(accept: bytes, chosen: bytes | None) -> None:
    assert choose_encoding(accept) == chosen
