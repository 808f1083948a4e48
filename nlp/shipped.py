"""The models that come with War Room, by name.

Owns names and folders. Does not own opening a model (`choice`) nor what is in its folder (`manifest`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

WEIGHTS: Final = Path(__file__).parent / "weights"
SMALL: Final = "small"
FAST: Final = "fast"
SIZES: Final = (SMALL, FAST)
"""`small` is the better one, `fast` three times as fast: docs/model-card.md has the figures of both."""
DEFAULT: Final = SMALL


def folder_of(chosen: Path | None) -> Path:
    """Return the folder of the chosen model: a name of SIZES, any other folder as it is, None for the default."""
    if chosen is None:
        return WEIGHTS / DEFAULT
    return WEIGHTS / chosen if str(chosen) in SIZES else chosen
