"""Broken requests from valid ones, by a seeded generator. Pure: the same seed breaks the same way."""

from __future__ import annotations

import random
from typing import Final

_WORDS: Final = (
    *(
        b"null",
        b"true",
        b"-1",
        b"1e999",
        b"NaN",
        b"9223372036854775808",
        b'""',
        b"[]",
        b"{}",
        b'"\\ud800"',
        b"[[[[[[[[",
    ),
    *(b'"shape":[0]', b'"shape":[-1,4]', b'"shape":[1000000000,1000000000]', b'"FP32"', b'"BYTES"'),
    *(b'"datatype":"INT64"', b'"binary_data_size":-1', b"Transfer-Encoding: chunked\r\n"),
    *(b"\x00", b"\xff\xfe", b"\r\n", b"\n", b":", b"%00", b"0x10"),
)


def mutate(data: bytes, chance: random.Random) -> bytes:
    """One to four edits. The outcome may be valid by luck."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        _EDITS[chance.randrange(len(_EDITS))](changed, chance)
    return bytes(changed)


def _place(data: bytearray, chance: random.Random) -> int:
    return chance.randrange(len(data) + 1)


def _flip(data: bytearray, chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _insert_word(data: bytearray, chance: random.Random) -> None:
    place = _place(data, chance)
    data[place:place] = chance.choice(_WORDS)


def _overwrite(data: bytearray, chance: random.Random) -> None:
    place = _place(data, chance)
    word = chance.choice(_WORDS)
    data[place : place + len(word)] = word


def _insert_noise(data: bytearray, chance: random.Random) -> None:
    place = _place(data, chance)
    data[place:place] = chance.randbytes(chance.randint(1, 16))


def _delete(data: bytearray, chance: random.Random) -> None:
    place = _place(data, chance)
    del data[place : place + chance.randint(1, 24)]


def _repeat(data: bytearray, chance: random.Random) -> None:
    place = _place(data, chance)
    data[place:place] = data[place : place + chance.randint(1, 64)]


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[_place(data, chance) :]


_EDITS: Final = (_flip, _insert_word, _overwrite, _insert_noise, _delete, _repeat, _cut)
