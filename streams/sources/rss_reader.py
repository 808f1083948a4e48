"""A feed's channel and entries, as feedparser's strict reader finds them in a well-formed document.

Owns what of feedparser is used. Does not own the document (`streams.sources.rss_repair`) nor its meaning
(`streams.sources.rss_entries`).

Its second, forgiving reader is never called: its time grows with the square of the length. Of the strict one that is
left out which costs as much, and which nobody here needs: the list of tags, each compared with each, and the search for
an e-mail address in an author's name, which holds the interpreter for minutes.
"""

from __future__ import annotations

import io
import xml.sax
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.sax.handler import feature_namespaces
from xml.sax.xmlreader import InputSource

from feedparser.api import StrictFeedParser

from streams.sources.rss_repair import NotAFeed

FAULTS: Final = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, RecursionError)
"""What hostile input makes a reader raise: found by fuzzing, named one by one so that others are not hidden."""


@dataclass(frozen=True, slots=True)
class Feed:
    """What feedparser calls `feed` and `entries`."""

    channel: Any
    entries: Sequence[Any]


def read(document: bytes, url: str) -> Feed:
    """Return what a well-formed document in UTF-8 holds; NotAFeed if it is none."""
    reader = _Reader(url, None, "utf-8")
    # Markup is stripped by `plain_text`, so that feedparser's own sanitizer has nothing to do.
    reader.resolve_relative_uris = reader.sanitize_html = False
    parser = xml.sax.make_parser()  # noqa: S317  what expands was refused before
    parser.setFeature(feature_namespaces, True)
    parser.setContentHandler(reader)
    source = InputSource()
    source.setByteStream(io.BytesIO(document))
    try:
        parser.parse(source)
    except (*FAULTS, xml.sax.SAXException) as error:
        raise NotAFeed(f"it can't be read: {type(error).__name__}: {error}") from error
    if not reader.version and not reader.entries:
        raise NotAFeed("it is neither RSS nor Atom")
    return Feed(reader.feeddata, reader.entries)


class _Reader(StrictFeedParser):  # type: ignore[misc]  # feedparser has no types
    """Two methods of feedparser's own do less: `author` is as it was written, or put together from its parts."""

    def _sync_author_detail(self, key: str = "author") -> None:
        if self._get_context().get(f"{key}s", [{}])[-1]:
            super()._sync_author_detail(key)

    def _add_tag(self, _term: Any, _scheme: Any, _label: Any) -> None:
        self._get_context().setdefault("tags", [])
