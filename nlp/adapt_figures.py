"""The old model beside the adapted one on people's labels, and whether the new one is better.

Owns the comparison, its verdict and its table. Does not own the fit (`adapter_fit`) or files (`adapt`).

Both models answer each text without having learned from it: the old one never saw it as a label of ours, the new one is
cross-fitted. Differences are paired: both are measured on the same resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from nlp import quality
from nlp.bootstrap import Figure, with_intervals
from nlp.logistic import Floats, Ints, losses
from nlp.verdicts import Agreed

MOST_ALARMS: Final = 0.04
"""Share of harmless texts on which a new model may raise an alarm that the old one did not."""
Outcome = Literal["better", "worse", "no clear difference"]


@dataclass(frozen=True, slots=True)
class LabelChange:
    """One label on the labelled texts: the shares (0..1) that truly have it and that each model answers with it.

    `recall_gain` is the new model's recall less the old one's, with its paired 95 % interval.
    """

    label: str
    true_share: float
    old_share: float
    new_share: float
    recall_gain: Figure

    @property
    def lost(self) -> bool:
        """Whether the new model misses more of the label's texts, beyond chance."""
        return self.recall_gain.high < 0


@dataclass(frozen=True, slots=True)
class CalmAnswers:
    """Harmless texts (`calm_texts`) that are called high or critical: by the old model, by the new one, of how many."""

    old: int
    new: int
    texts: int

    @property
    def alarmed(self) -> bool:
        """Whether the new model cries wolf: more often than the old one, by more than a text or two."""
        return self.new - self.old > MOST_ALARMS * self.texts


@dataclass(frozen=True, slots=True)
class Compared:
    """One task: figures by name with 95 % intervals; `*_gain` are positive where the new model is better.

    `macro_f1`, `calibration_error` and `loss` (mean log loss) each come as `old_*`, `new_*` and `*_gain`. `texts` were
    scored; `agreed` says what became of the labels. `moved` is whether the labels taught the heads anything: if not,
    only the calibration was fitted anew. `changes` has an entry for each label of the task. `calm` is of urgency alone.
    """

    task: str
    texts: int
    agreed: Agreed
    moved: bool
    figures: Mapping[str, Figure]
    changes: tuple[LabelChange, ...]
    calm: CalmAnswers | None = None

    @property
    def outcome(self) -> Outcome:
        """Better if macro-F1 gained beyond chance, or log loss did and no label's recall was lost beyond chance.

        Worse if macro-F1 or log loss lost beyond chance, or a label's recall did that no gain of macro-F1 makes up for.
        Log loss alone proves little: the shares of the labels among the labelled texts are enough to lower it. And all
        of these are figures of what people chose to label, mostly what looks urgent: so it is worse, too, if it cries
        wolf over harmless texts.
        """
        f1, loss = self.figures["macro_f1_gain"], self.figures["loss_gain"]
        if f1.high < 0 or loss.high < 0 or (self.calm is not None and self.calm.alarmed):
            return "worse"
        if f1.low > 0:
            return "better"
        if any(change.lost for change in self.changes):
            return "worse"
        return "better" if loss.low > 0 else "no clear difference"


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What `adapt` made: the new folder beside the old one, the tasks it compared and those it left as they were."""

    old: Path
    new: Path
    old_revision: str
    new_revision: str
    compared: tuple[Compared, ...]
    left: Mapping[str, str]

    @property
    def recommended(self) -> bool:
        """Whether to use the new model: better in some task, worse in none."""
        outcomes = {one.outcome for one in self.compared}
        return "better" in outcomes and "worse" not in outcomes


def compared_figures(truth: Ints, old: Floats, new: Floats) -> dict[str, Figure]:
    """Return the figures of `Compared`; `old` and `new` are probabilities (count, classes) of the same texts."""
    lost = {"old": losses(old, truth), "new": losses(new, truth)}

    def figures(weights: Ints) -> dict[str, float]:
        found = {}
        for name, values in (("old", old), ("new", new)):
            table = quality.confusion(truth, values.argmax(axis=1), values.shape[1], weights)
            found[f"{name}_macro_f1"] = quality.macro(quality.f1_scores(table))
            found[f"{name}_calibration_error"] = quality.calibration_error(truth, values, weights=weights)
            found[f"{name}_loss"] = float(np.average(lost[name], weights=weights))
        found["macro_f1_gain"] = found["new_macro_f1"] - found["old_macro_f1"]
        found["calibration_error_gain"] = found["old_calibration_error"] - found["new_calibration_error"]
        found["loss_gain"] = found["old_loss"] - found["new_loss"]
        return found

    return with_intervals(figures, len(truth), biased=("old_calibration_error", "new_calibration_error"))


def label_changes(labels: Sequence[str], truth: Ints, old: Floats, new: Floats) -> tuple[LabelChange, ...]:
    """Return what becomes of each label; `old` and `new` are probabilities (count, classes in that order)."""
    answers = {"old": old.argmax(axis=1), "new": new.argmax(axis=1)}

    def gains(weights: Ints) -> dict[str, float]:
        tables = {name: quality.confusion(truth, found, len(labels), weights) for name, found in answers.items()}
        gained = quality.recalls(tables["new"]) - quality.recalls(tables["old"])
        return dict(zip(labels, gained.tolist(), strict=True))

    found = with_intervals(gains, len(truth))
    return tuple(
        LabelChange(
            label,
            float((truth == at).mean()),
            float((answers["old"] == at).mean()),
            float((answers["new"] == at).mean()),
            found[label],
        )
        for at, label in enumerate(labels)
    )


def _shown(figure: Figure) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _rows(one: Compared) -> list[str]:
    names = {"macro_f1": "macro-F1", "calibration_error": "calibration error", "loss": "log loss"}
    cells = (
        (title, [one.figures[key] for key in (f"old_{name}", f"new_{name}", f"{name}_gain")])
        for name, title in names.items()
    )
    return [f"| {one.task} | {one.texts} | {title} | {' | '.join(map(_shown, figures))} |" for title, figures in cells]


def _change_lines(changes: Sequence[LabelChange]) -> list[str]:
    shares = ", ".join(
        f"{one.label} {one.old_share:.0%} to {one.new_share:.0%} ({100 * (one.new_share - one.old_share):+.0f} points, "
        f"labelled {one.true_share:.0%})"
        for one in changes
    )
    lines = [f"  share of each answer on these texts, old to new: {shares}"]
    for one in changes:
        if one.lost:
            gain = one.recall_gain
            lines.append(f"  recall of {one.label} falls: {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})")
    return lines


def _notes(compared: Sequence[Compared], left: Mapping[str, str]) -> list[str]:
    lines = []
    for one in compared:
        moved = "" if one.moved else "; the labels taught the head nothing, only its calibration was fitted anew"
        lines.append(f"{one.task}: {one.outcome}{moved}")
        lines += _change_lines(one.changes)
        if one.calm is not None:
            calm = one.calm
            lines.append(
                f"  of {calm.texts} harmless texts high or critical: old model {calm.old}, new model {calm.new}"
            )
        agreed = one.agreed
        if agreed.contradicted or agreed.tied or agreed.repeats:
            lines.append(
                f"  {agreed.repeats} repeated labels; on {agreed.contradicted} texts the majority won, "
                f"{agreed.tied} texts were left out as a tie"
            )
    return lines + [f"{task}: left as it was: {reason}" for task, reason in left.items()]


def report(made: Adaptation) -> str:
    """Return the table in Markdown, what became of each task, and whether to use the new model."""
    lines = ["| task | texts | figure | old model | new model | gain (95 %) |", "|---" * 6 + "|"]
    for one in made.compared:
        lines += _rows(one)
    lines += ["", *_notes(made.compared, made.left), ""]
    lines.append(f"old model: {made.old} (revision {made.old_revision}), unchanged")
    lines.append(f"new model: {made.new} (revision {made.new_revision})")
    if made.recommended:
        lines.append(f"The new model is better on these labels. To use it: WARROOM_MODEL={made.new}")
    else:
        lines.append("The new model is NOT clearly better on these labels: keep the old one, and label more texts.")
    return "\n".join(lines)
