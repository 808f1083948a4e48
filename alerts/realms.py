"""Realm: the rules that hear the same sources of one realm, with their clock and all that is known there.

Owns which rules share a clock. A rule that names its sources has event time of its own, the least of theirs: while
they are away it stands still, whatever other sources say meanwhile, and what they catch up with later is not late.
Rules that hear every source share one clock. In a replay, whose only clock is the replay's own, all rules do. Does not
own how time passes (`alerts.clocks`) nor the walk along it (`alerts.engine`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alerts.cells import Cell
from alerts.clocks import RealmClock
from alerts.contributions import Change, Contributions
from alerts.moments import AHEAD
from alerts.rules import Rule
from alerts.windows import Exhibit, Group, Window, exhibit
from streams.records import REPLAY, Action, ScoredMention

Sources = tuple[str, ...]
"""The sources that rules name, sorted; () for all."""


def by_sources(rules: Sequence[Rule], name: str) -> dict[Sources, list[Rule]]:
    """Return the rules that watch the realm by the sources that they hear; those that hear all first, if only none."""
    found: dict[Sources, list[Rule]] = {(): []}
    for rule in rules:
        if rule.watches(name):
            sources = () if name == REPLAY else tuple(sorted(set(rule.sources)))
            found.setdefault(sources, []).append(rule)
    return found


@dataclass(slots=True)
class Realm:
    """One realm, or what the rules that name the same sources hear of it."""

    name: str
    sources: Sources
    clock: RealmClock
    contributions: Contributions
    cells: list[Cell]

    @classmethod
    def of(cls, name: str, sources: Sources, rules: Sequence[Rule], clock: RealmClock) -> Realm:
        """Return an empty one."""
        return cls(name, sources, clock, Contributions(), [Cell(rule, name, Window(rule)) for rule in rules])

    @property
    def key(self) -> str:
        """Name it in the saved state."""
        return self.name if not self.sources else f"{self.name}:{','.join(self.sources)}"

    def hears(self, source_id: str) -> bool:
        """Whether what the source says concerns these rules."""
        return not self.sources or source_id in self.sources

    def concerns(self, scored: ScoredMention) -> bool:
        """Whether the record can change anything; another source may send deletions, and edits of what is known.

        Once all sources have finished, a deletion of what is unknown does not count: nothing will come that it could
        be of, and as time stands still it would stay for ever.
        """
        mention = scored.mention
        if self.hears(mention.source_id) or (mention.action is not Action.PUBLISH and not self.clock.ended):
            return True
        return self.contributions.knows(mention)

    def apply(self, change: Change, scored: ScoredMention) -> None:
        """Bring a change of the contributions into the windows."""
        facets, shown = self.contributions.facets, None
        for cell in self.cells:
            window = cell.window
            if change.gone is not None:
                groups = window.groups_of(change.gone.facet, facets[change.gone.facet])
                if groups:
                    window.add(change.gone, groups, -1)
                    window.hide(change.key, groups)
            if change.new is not None:
                groups = window.groups_of(change.new.facet, facets[change.new.facet])
                if groups:
                    window.add(change.new, groups, 1)
                    if window.is_hit(change.new):
                        shown = shown or exhibit(change.key, change.new, scored)
                        window.show(shown, groups)

    def exhibits(self) -> dict[int, Exhibit]:
        """Return what is kept as possible evidence, by the mention's key."""
        return {one.key: one for cell in self.cells for kept in cell.window.exhibits.values() for one in kept}

    def fill(self, cell: Cell, exhibits: Mapping[int, Exhibit]) -> None:
        """Put all that is known into an empty window, and show those of `exhibits` that are hits there."""
        window, shown = cell.window, list[tuple[Exhibit, tuple[Group, ...]]]()
        for key, entry in self.contributions.counted():
            groups = window.groups_of(entry.facet, self.contributions.facets[entry.facet])
            if groups:
                window.add(entry, groups, 1)
                if key in exhibits and window.is_hit(entry):
                    shown.append((exhibits[key]._replace(at=entry.at), groups))
        for one, groups in sorted(shown, key=lambda each: (each[0].at, each[0].key)):
            if not window.has_left(one):
                window.show(one, groups)

    def set_back(self, present: int) -> None:
        """Go on from the present where time ran ahead of it."""
        limit = present + AHEAD
        for cell in self.cells:
            if cell.began > present:
                cell.used, cell.began = max(cell.used, cell.began), present
        if self.clock.ahead_of(limit) and self.clock.set_back(present, limit):
            self.contributions.set_back(present)
            exhibits = self.exhibits()
            for cell in self.cells:
                cell.set_back(present)
                self.fill(cell, exhibits)

    def dump(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "realm": self.name,
            "clock": self.clock.dump(),
            "contributions": self.contributions.dump(),
            "exhibits": list(self.exhibits().values()),
            "cells": {cell.rule.id: cell.dump() for cell in self.cells},
        }

    def restore_time(self, data: Mapping[str, Any], known: frozenset[str] | None) -> None:
        """Take over clock and contributions of a dump; of sources that are not `known` or not heard here, nothing."""
        self.clock.restore(data["clock"])
        heard = frozenset(self.sources or self.clock.sources)
        groups = [group for cell in data["cells"].values() for group, _ in cell["openings"]]
        self.clock.forget(heard if known is None else heard & known, frozenset().union(*groups))
        self.contributions = Contributions.load(data["contributions"])
