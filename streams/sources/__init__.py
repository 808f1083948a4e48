"""The kinds of sources, found through the entry-point group `warroom.sources`: built-ins register as strangers do.

Owns the look-up by kind. Does not own a source's protocol (`streams.source`), nor how one is run
(`streams.sources.supervise`). A source class is made from its settings: `load_source(kind)(settings)`.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Final, Protocol, cast

from streams.source import Source, SourceSettings

GROUP: Final = "warroom.sources"


class UnknownSource(LookupError):
    """No installed package offers this kind, or what it offers can't be loaded; the message names the remedy."""


class SourceClass(Protocol):
    """What an entry point leads to: a class with its settings model, made from such settings."""

    settings_model: type[SourceSettings]

    def __call__(self, settings: SourceSettings) -> Source:
        """Return the source that `settings` (an instance of `settings_model`) describe."""
        ...


def known_kinds() -> tuple[str, ...]:
    """Return the names of all installed source kinds, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def load_source(kind: str) -> SourceClass:
    """Return the class of sources of `kind`; UnknownSource lists the kinds that there are."""
    points = tuple(entry_points(group=GROUP, name=kind))
    if not points:
        raise UnknownSource(f"there is no source kind {kind!r}; known are: {', '.join(known_kinds()) or 'none'}")
    return _load(points[0])


def _load(point: EntryPoint) -> SourceClass:
    try:
        found = point.load()
    except (ImportError, AttributeError) as error:
        raise UnknownSource(f"source kind {point.name!r} ({point.value}) can't be loaded: {error}") from error
    if not callable(getattr(found, "listen", None)) or not hasattr(found, "settings_model"):
        raise UnknownSource(
            f"source kind {point.name!r} ({point.value}) is no source: it lacks listen or settings_model"
        )
    return cast("SourceClass", found)
