"""What a link and a handle look like in a text: patterns for those who read a text and must not read an address.

Owns the patterns only. What glues to an address is the author's own word and stays out: the letters of "Ewww.awful",
of "@shop...love it", and Hebrew or Arabic script right after a link ("https://t.co/x1" and the text without a space).
"""

from __future__ import annotations

from typing import Final

_OWN_SCRIPT: Final = "\u05d0-\u05ea\u0620-\u064a\u066e-\u06d3\u06d5\u06fa-\u06ff\u0750-\u077f\ufb1d-\ufdfb\ufe70-\ufefc"
LINK: Final = (
    r"(?:https?://(?=\S)|(?<![^\W_])www\.(?=[^\W_]))"
    rf"(?:[^\s{_OWN_SCRIPT}]+|(?<![A-Za-z0-9])[{_OWN_SCRIPT}]+)*"
)
"""A link; Hebrew or Arabic letters belong to its path ("/wiki/שלום") where none but a sign stands before them."""
HANDLE: Final = r"(?<![\w.@])@\w+(?:[.-]\w+)*"
