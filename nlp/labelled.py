"""Labelled texts of a file, for `warroom model eval`: a text, its true label of one task, its language.

Owns which column is what, what a label in another spelling means, and the report of what can't be used. Does not own
the file's form (`rows`) nor figures (`evaluate`).

A row has `text`, the true label under the task's name (under `label` where there is no such field), and optionally
`lang`. Rows without a label of the task are passed over and counted: one file may hold the labels of several tasks. A
row without `lang` goes by its script, told from the text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from nlp.families import family
from nlp.rows import Row
from nlp.scorer import LABELS
from streams.normal import language

LABEL: Final = "label"
_BY_SCRIPT: Final = "{} (by script)"
_SHOWN: Final = 10
_UNTOLD: Final = {"", "nan", "all", "mean of languages"}
"""What tells no language here; the last two are names of rows in the report's own tables."""
_LONGEST: Final = 35
"""Characters of the longest tag that a mention may have; what is longer, or has control characters, is no language."""


class BadLabels(ValueError):
    """The file can't be used as it is; the message names lines, faults, the labels that would do, and the remedy."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One labelled text."""

    text: str
    label: str
    lang: str


@dataclass(frozen=True, slots=True)
class Reading:
    """How rows are read for one task.

    `label` names the column of the truth (None: the task's name, or `label` where that is absent); `means` maps
    spellings of the file, whatever their case, to labels of ours, an empty one leaves such texts out.
    """

    task: str
    text: str = "text"
    label: str | None = None
    lang: str = "lang"
    means: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise BadLabels where `means` leads to a label that does not exist."""
        for old, new in self.means.items():
            if new and new not in LABELS[self.task]:
                raise BadLabels(f"{old}={new}: {new!r} is not one of {', '.join(LABELS[self.task])}")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return (self.text, self.lang, *((self.label,) if self.label else (self.task, LABEL)))

    def meant(self, spelt: str) -> str:
        """Return the label that a spelling of the file stands for, empty where such texts are left out."""
        folded = spelt.casefold()
        alike = (new for old, new in self.means.items() if old.casefold() == folded)
        return self.means.get(spelt, next(alike, folded))


@dataclass(slots=True)
class Survey:
    """What a file holds: texts by label, rows without a label of the task, rows left out by wish."""

    labels: Counter[str] = field(default_factory=Counter)
    unlabelled: int = 0
    left_out: int = 0


class _Unknown(ValueError):
    """A label that is none of ours."""


def _truth(row: Row, reading: Reading) -> str | None:
    """Return the label as the file spells it; None where the row has none."""
    own = reading.label or reading.task
    value = row.fields.get(own)
    # An object under the task's name is what `warroom score` wrote there: an answer, not the truth.
    if reading.label is None and (own not in row.fields or isinstance(value, (dict, list))):
        value = row.fields.get(LABEL)
    return None if value is None or isinstance(value, (dict, list)) else str(value).strip() or None


def _language(row: Row, text: str, name: str) -> str:
    said = language(str(row.fields.get(name) or "").strip()).partition("-")[0]
    untold = said in _UNTOLD or len(said) > _LONGEST or not said.isprintable() or "|" in said
    return _BY_SCRIPT.format(family(text)) if untold else said


def read_row(row: Row, reading: Reading, survey: Survey) -> Labelled | None:
    """Return the labelled text of a row, counted in `survey`; None where it has no label to use; raise ValueError."""
    if row.fault:
        raise ValueError(row.fault)
    text = row.fields.get(reading.text)
    if not isinstance(text, str):
        raise ValueError(f"no field `{reading.text}` that holds a string")  # noqa: TRY004  the row is wrong, not a type
    spelt = _truth(row, reading)
    if spelt is None:
        survey.unlabelled += 1
        return None
    label = reading.meant(spelt)
    if not label:
        survey.left_out += 1
        return None
    if label not in LABELS[reading.task]:
        raise _Unknown(spelt)
    survey.labels[label] += 1
    return Labelled(text, label, _language(row, text, reading.lang))


def read_labelled(rows: Iterable[Row], reading: Reading) -> Iterator[Labelled]:
    """Yield the labelled texts; raise BadLabels for the first row that is not fit. `survey_of` names all of them."""
    survey = Survey()
    for row in rows:
        try:
            found = read_row(row, reading, survey)
        except ValueError as error:
            raise BadLabels(_worded(row, error, reading)) from error
        if found is not None:
            yield found


def survey_of(rows: Iterable[Row], reading: Reading) -> Survey:
    """Return what the rows hold; raise BadLabels with the first faults and the count of all, or if none has a label."""
    survey, faults, unknown = Survey(), 0, Counter[str]()
    shown: list[str] = []
    for row in rows:
        try:
            read_row(row, reading, survey)
        except ValueError as error:
            faults += 1
            unknown.update([str(error)] if isinstance(error, _Unknown) else [])
            if len(shown) < _SHOWN:
                shown.append(_worded(row, error, reading))
    if faults > len(shown):
        shown.append(f"... and {faults - len(shown)} more")
    if faults:
        raise BadLabels("\n".join([*shown, *_remedy(unknown, reading)]))
    if not survey.labels:
        raise BadLabels(_nothing(survey, reading))
    return survey


def _worded(row: Row, error: ValueError, reading: Reading) -> str:
    if isinstance(error, _Unknown):
        return f"line {row.line}: {str(error)[:80]!r} is not one of {', '.join(LABELS[reading.task])}"
    return f"line {row.line}: {error}"


def _remedy(unknown: Counter[str], reading: Reading) -> list[str]:
    if not unknown:
        return []
    found = ", ".join(f"{label[:40]!r} ({count})" for label, count in unknown.most_common(_SHOWN))
    first = unknown.most_common(1)[0][0][:40]
    example = f"--labels '{first}=...' with one of {', '.join(LABELS[reading.task])}"
    return [f"labels that are not known: {found}; say what each means: {example}, or '{first}=' to leave them out"]


def _nothing(survey: Survey, reading: Reading) -> str:
    if not survey.unlabelled and not survey.left_out:
        return "the file holds no texts"
    wanted = f"`{reading.label}`" if reading.label else f"`{reading.task}` or `{LABEL}`"
    return f"no text has a label to use: {survey.unlabelled} without {wanted}, {survey.left_out} left out by --labels"
