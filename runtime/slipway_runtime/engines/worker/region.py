"""Memory that two processes see: an anonymous file, mapped. Tensors lie in it at aligned offsets."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from math import prod
from struct import Struct
from typing import Any, Final, NamedTuple, Self

import numpy as np

from slipway_runtime.models.datatypes import NUMPY, Array

ALIGNMENT_BYTES: Final = 64
"""A cache line, and what vector instructions like best."""

_OBJECTS: Final = np.dtype(np.object_)
_LENGTH: Final = Struct("<I")
_KNOWN: Final[Mapping[str, np.dtype[Any]]] = {dtype.str: dtype for dtype in (*NUMPY.values(), _OBJECTS)}
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class PlaceError(ValueError):
    """A tensor's place is not inside its region, or its type is unknown."""


class Place(NamedTuple):
    """Where a tensor lies. As JSON: an array of these five."""

    name: str
    dtype: str
    """As `numpy.dtype.str` has it; `|O` for elements of bytes, each after its length."""
    shape: Sequence[int]
    offset: int
    size_bytes: int


class Region:
    """A mapped anonymous file. It lives as long as an array lies in it, whoever has the other mapping."""

    __slots__ = ("_fd", "memory", "size_bytes")

    def __init__(self, fd: int, size_bytes: int) -> None:
        """Takes over `fd`. Raises `OSError`."""
        self._fd = fd
        self.size_bytes = size_bytes
        self.memory = mmap.mmap(fd, size_bytes, mmap.MAP_SHARED)

    @classmethod
    def create(cls, size_bytes: int) -> Self:
        fd = os.memfd_create("slipway", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, size_bytes)
            # Memory that the other process cut off would end this one at its next access.
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            return cls(fd, size_bytes)
        except BaseException:
            os.close(fd)
            raise

    @property
    def fd(self) -> int:
        """To send; it stays the region's."""
        return self._fd

    def __del__(self) -> None:
        fd = getattr(self, "_fd", -1)
        if fd >= 0:
            self._fd = -1
            os.close(fd)

    def view(self, place: Place) -> Array:
        """The tensor at `place`, without a copy, except of bytes. Raises `PlaceError`."""
        dtype = _KNOWN.get(place.dtype)
        if dtype is None:
            raise PlaceError(f"the element type {place.dtype!r} is unknown")
        shape, offset, size_bytes = tuple(place.shape), place.offset, place.size_bytes
        if offset < 0 or size_bytes < 0 or offset + size_bytes > self.size_bytes or min(shape, default=0) < 0:
            raise PlaceError(f"{size_bytes} bytes at {offset} are not inside a region of {self.size_bytes}")
        if dtype == _OBJECTS:
            return _unpack(bytes(self.memory[offset : offset + size_bytes]), shape)
        if prod(shape) * dtype.itemsize != size_bytes:
            raise PlaceError(f"the shape {list(shape)} of {dtype} does not take {size_bytes} bytes")
        return np.ndarray(shape, dtype, buffer=self.memory, offset=offset)

    def write(self, places: Iterable[Place], contents: Iterable[Array | bytes]) -> None:
        """Copies each tensor, as `plan` gave it, to its place."""
        for place, content in zip(places, contents, strict=True):
            if isinstance(content, bytes):
                self.memory[place.offset : place.offset + place.size_bytes] = content
            else:
                self.view(place)[...] = content


def plan(tensors: Mapping[str, Array]) -> tuple[list[Place], list[Array | bytes], int]:
    """Places for all of them one after the other, what to write there, and the bytes they take together."""
    contents = [pack(array) if array.dtype == _OBJECTS else array for array in tensors.values()]
    sizes = [len(content) if isinstance(content, bytes) else content.nbytes for content in contents]
    offsets = list(accumulate(map(align, sizes), initial=0))
    places = [
        Place(name, array.dtype.str, array.shape, offset, size)
        for (name, array), offset, size in zip(tensors.items(), offsets, sizes, strict=False)
    ]
    return places, contents, offsets[-1]


def align(size_bytes: int) -> int:
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def pack(array: Array) -> bytes:
    """Elements of bytes one after the other, each after its length in four bytes, little-endian."""
    parts: list[bytes] = []
    for element in array.ravel():
        content = element.encode() if isinstance(element, str) else bytes(element)
        parts += (_LENGTH.pack(len(content)), content)
    return b"".join(parts)


def _unpack(content: bytes, shape: tuple[int, ...]) -> Array:
    elements: list[bytes] = []
    position = 0
    while position < len(content):
        begin = position + _LENGTH.size
        if begin > len(content):
            raise PlaceError("an element's length is cut off")
        position = begin + _LENGTH.unpack_from(content, position)[0]
        if position > len(content):
            raise PlaceError("an element is cut off")
        elements.append(content[begin:position])
    if len(elements) != prod(shape):
        raise PlaceError(f"{len(elements)} elements do not fill the shape {list(shape)}")
    array: Array = np.empty(len(elements), _OBJECTS)
    array[:] = elements
    return array.reshape(shape)
