"""Which mentions of a source enter the log: new ones that a query matches, and what changes known ones.

Owns the decision, a pure function of the mentions, what is known and the queries. Does not own where knowledge is kept
(`streams.source.IngestLog`) nor appending (`streams.sources.supervise`).
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from streams.records import Action, DeadLetter, Mention, encode
from streams.source import Accepted
from streams.sources.letters import letter
from streams.stream import Item

Match = Callable[[Mention], tuple[str, ...]]
"""Returns the ids of the queries that a mention matches."""

WITHDRAWN: Final = 100_000
"""How many deletions of what never matched are remembered, so that a create that comes after one stays out. Those that
were pushed are in the log and in the database as well: who got our answer does not repeat them after a restart."""

_HIGHEST: Final = 2**63 - 1
_NUMBERED: Final = 10**12
"""Revisions below it are a sender's numbers (0 for none); above, they are times in milliseconds or finer."""

_UNHOLDABLE: Final = re.compile("[\x00\ud800-\udfff]")
_UNHOLDABLE_KEY: Final = re.compile("[\x00\x1f\ud800-\udfff]")
"""0x1F stands between the parts of a key: in an id it could name the posts of somebody else."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Chosen:
    """What goes into the log, what to remember of it, and what became of the rest (noise is not counted)."""

    items: list[Item] = field(default_factory=list)
    accepted: list[Accepted] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    duplicated: int = 0
    late: int = 0
    last_received_at: datetime | None = None


def author_key(source_kind: str, author_id: str) -> str:
    """Return the key under which all posts of an author are remembered; no post's own key equals it."""
    return f"{source_kind}\x1fauthor\x1f{author_id}"


def accepted_key(mention: Mention, *, pushed: bool = False) -> str:
    """Return the key under which a mention is remembered: the withdrawal of an author is no post of the same id.

    Nor is a deletion that was pushed: what it deletes may never have been taken.
    """
    if mention.action is Action.DELETE_AUTHOR:
        return _withdrawal_key(mention.source_kind, mention.native_id)
    return _deletion_key(mention) if pushed and mention.action is Action.DELETE else mention.key


def wanted_keys(mentions: Sequence[Mention], pushed: Collection[Mention] = ()) -> list[str]:
    """Return the keys whose known revisions `Chooser.choose` needs."""
    keys = {accepted_key(mention) for mention in mentions} | {_deletion_key(mention) for mention in pushed}
    keys |= {_author_key(mention) for mention in mentions if mention.action is Action.DELETE_AUTHOR}
    keys |= {
        _withdrawal_key(mention.source_kind, mention.author.id)
        for mention in mentions
        if mention.author is not None and mention.revision < _NUMBERED
    }
    return sorted(keys)


def without_key(mention: Mention) -> str:
    """Return why a mention can't be asked for in any database; empty if it can. Sources clean what they read."""
    ids = (mention.native_id, "" if mention.author is None else mention.author.id)
    found = any(map(_UNHOLDABLE_KEY.search, ids))
    return "an id holds NUL, 0x1F or half a surrogate pair, which no key can" if found else ""


class Chooser:
    """Decides for one source; remembers recent deletions of what is not known."""

    def __init__(self, match: Match) -> None:
        self._match = match
        self._withdrawn: OrderedDict[str, int] = OrderedDict()

    def choose(
        self,
        mentions: Sequence[Mention],
        known: Mapping[str, int],
        now: datetime,
        promised: datetime | None = None,
        unversioned: Collection[Mention] = (),
        pushed: Collection[Mention] = (),
    ) -> Chosen:
        """Return the choice, in the order of `mentions`; what is accepted counts as known for those after it.

        What was published before `promised` comes late: rules have passed its time. It is taken, and counted. Those
        also in `unversioned` are lifted above what is known: a deletion in the second of its post is meant. An edit is
        not if its very revision is known: another source of the same channel was first. So is a numbered post that was
        published after all of its author's were withdrawn. Deletions in `pushed` are taken whether what they delete is
        known or not, and make none of it known.
        """
        chosen = Chosen()
        revisions = dict(known)
        for one in mentions:
            mention = _lifted(one, revisions, meant=one in unversioned, pushed=one in pushed)
            if mention.revision <= _reached(mention, revisions):
                chosen.duplicated += 1
                continue
            try:
                kept = self._kept(mention, revisions, pushed=one in pushed)
                _check_holdable(kept)
                item = None if kept is None else Item(kept.key, encode(kept))
            except Exception as error:  # noqa: BLE001  a process boundary: what one text raises stays its own fault
                _log.exception("a mention of source %s could not be taken", mention.source_id)
                chosen.dead.append(_letter(mention, error, now))
                continue
            if kept is None or item is None:
                continue
            accepted = Accepted(accepted_key(mention, pushed=one in pushed), _author_key(mention), mention.revision)
            revisions[accepted.key] = accepted.revision
            if accepted.author_key:
                revisions[accepted.author_key] = max(accepted.revision, revisions.get(accepted.author_key, -1))
            if promised is not None and mention.published_at is not None and mention.published_at < promised:
                chosen.late += 1
            chosen.items.append(item)
            chosen.accepted.append(accepted)
            chosen.last_received_at = mention.received_at
        return chosen

    def _kept(self, mention: Mention, known: Mapping[str, int], *, pushed: bool) -> Mention | None:
        """Return the mention as it enters the log; None for noise."""
        if mention.action is not Action.PUBLISH:
            key = _author_key(mention) if mention.action is Action.DELETE_AUTHOR else mention.key
            taken = self._withdrawal(mention.revision, key, known) or pushed
            return mention if taken else None
        if any(mention.revision <= self._withdrawn.get(key, -1) for key in (mention.key, _author_key(mention))):
            return None
        queries = self._match(mention)
        if not queries and mention.key not in known:
            return None
        return mention.model_copy(update={"queries": queries})

    def _withdrawal(self, revision: int, key: str, known: Mapping[str, int]) -> bool:
        """Return whether what is withdrawn is known; remember that it is withdrawn if not."""
        if key in known:
            return True
        self._withdrawn[key] = max(revision, self._withdrawn.pop(key, -1))
        if len(self._withdrawn) > WITHDRAWN:
            self._withdrawn.popitem(last=False)
        return False


def _check_holdable(mention: Mention | None) -> None:
    """Raise ValueError for text that PostgreSQL does not take, or UTF-8 can't write."""
    if mention is None:
        return
    written = (mention.text, mention.url, mention.lang, mention.place, mention.thread_id, mention.reply_to)
    author = (mention.author.name, mention.author.handle) if mention.author else ()
    if any(_UNHOLDABLE.search(text) for text in (*written, *author) if text):
        raise ValueError("it holds NUL or half a surrogate pair")


def _lifted(mention: Mention, known: Mapping[str, int], *, meant: bool, pushed: bool) -> Mention:
    """Return the mention with the revision that it has among what is known."""
    key = _author_key(mention) if mention.action is Action.DELETE_AUTHOR else mention.key
    above, there = mention.revision, known.get(key, -1)
    if mention.action is Action.PUBLISH:
        above = _after_a_withdrawal(mention, known)
        meant = meant and above != there
    elif mention.action is Action.DELETE:
        meant = (meant or (pushed and above < _NUMBERED <= there)) and there > known.get(_deletion_key(mention), -1)
    above = min(max(above, there + 1) if meant else above, _HIGHEST)
    return mention if above == mention.revision else mention.model_copy(update={"revision": above})


def _reached(mention: Mention, known: Mapping[str, int]) -> int:
    """Return the revision that is known of what a mention publishes or deletes; -1 for none."""
    of_the_post = known.get(accepted_key(mention), -1)
    whole = mention.action is Action.DELETE_AUTHOR
    return of_the_post if whole else max(of_the_post, known.get(_deletion_key(mention), -1))


def _after_a_withdrawal(mention: Mention, known: Mapping[str, int]) -> int:
    """Return the revision of a post: a number is put above the time at which its author was withdrawn before."""
    if mention.author is None or mention.published_at is None or mention.revision >= _NUMBERED:
        return mention.revision
    withdrawn = known.get(_withdrawal_key(mention.source_kind, mention.author.id), -1)
    again = _NUMBERED <= withdrawn < mention.published_at.timestamp() * 1000
    return withdrawn + 1 + mention.revision if again else mention.revision


def _withdrawal_key(source_kind: str, author_id: str) -> str:
    return f"{source_kind}\x1fwithdrawn author\x1f{author_id}"


def _deletion_key(mention: Mention) -> str:
    return f"{mention.source_kind}\x1fdeleted\x1f{mention.native_id}"


def _author_key(mention: Mention) -> str:
    if mention.action is Action.DELETE_AUTHOR:
        return author_key(mention.source_kind, mention.native_id)
    return "" if mention.author is None else author_key(mention.source_kind, mention.author.id)


def _letter(mention: Mention, error: Exception, now: datetime) -> DeadLetter:
    return refused(mention, f"could not be matched or encoded: {type(error).__name__}: {error}", now)


def refused(mention: Mention, reason: str, now: datetime) -> DeadLetter:
    """Return the dead letter of a mention that can't be taken."""
    return letter(
        reason, mention.text, source_id=mention.source_id, at=now, origin=mention.native_id, realm=mention.realm
    )
