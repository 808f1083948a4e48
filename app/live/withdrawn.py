"""Authors who withdrew all that they wrote: what is forbidden on a board, and the slow search for what they had there.

Owns the authors' tombstones (bounded) and the search through the known identities, a slice a tick: an author's posts
may be anywhere among 200,000, and a walk over all of them at once would hold up every wall. Does not own the
identities. What a board shows leaves it at once; the search finds what open walls may still hold.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

MOST: Final = 20_000
"""Authors that are remembered; the store knows all, and each refresh asks it."""
SLICE: Final = 5000
"""Identities that are looked at in one tick: about a millisecond."""


class Withdrawals:
    """One board's withdrawn authors: author's key -> the revision up to and with which nothing may be shown."""

    def __init__(self) -> None:
        self._revisions: OrderedDict[str, int] = OrderedDict()
        self._unsought = False
        self._searching = False
        self._left: Iterator[str] = iter(())

    def note(self, author: str, revision: int) -> None:
        """Take an author's withdrawal; `search` will look for what they wrote."""
        self._revisions[author] = max(revision, self._revisions.pop(author, -1))
        self._unsought = True
        if len(self._revisions) > MOST:
            self._revisions.popitem(last=False)

    def stone(self, author: str) -> int:
        """Return the revision up to and with which nothing of this author's may be shown; -1 for no withdrawal."""
        return self._revisions.get(author, -1)

    def search(self, keys: Iterable[str]) -> list[str]:
        """Return the next identities to look at, none when nobody is sought; `keys` are all, as they are now."""
        found = list(islice(self._left, SLICE))
        if not found and self._unsought:
            self._unsought = False
            self._left = iter(tuple(keys))
            found = list(islice(self._left, SLICE))
        self._searching = bool(found)
        return found

    def adopt(self, old: Withdrawals) -> None:
        """Take over what an older board knew, its unfinished search from the start."""
        known, self._revisions = self._revisions, old._revisions
        self._unsought = self._unsought or old._unsought or old._searching
        for author, revision in known.items():
            self.note(author, revision)
