"""Lists of keys for IN, in few sizes: so that drivers find their prepared statement again.

Owns slicing and padding. Does not own any statement.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, TypeVar

_T = TypeVar("_T")

SLICE: Final = 512
"""Most values in one IN: both databases take it as one plan over an index."""


def slices(values: Collection[_T], most: int = SLICE) -> Iterator[list[_T]]:
    """Yield the distinct values in lists of at most `most`, each filled up to a power of two by repeating its last."""
    distinct = list(dict.fromkeys(values))
    for start in range(0, len(distinct), most):
        part = distinct[start : start + most]
        size = 1 << (len(part) - 1).bit_length()
        yield part + part[-1:] * (size - len(part))
