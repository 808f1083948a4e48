"""Which scorer a process uses, from its settings, and what `warroom score` and `warroom model eval` run on it.

Owns the reading of the settings: which folder is what. Does not own the choice of a backend (`nlp.choice`), nor the
command line (`app.model_commands`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from app.settings import Settings
from nlp import manifest
from nlp.batch_command import score_lines
from nlp.choice import is_ours, open_scorer
from nlp.evaluate import judge_each
from nlp.evaluation_report import Evaluation, evaluations
from nlp.labelled import Reading, read_labelled, survey_of
from nlp.onnx_cpu import SHIPPED
from nlp.rows import Form, read_rows
from nlp.scorer import ModelFilesDamaged, Scorer
from nlp.shipped import SIZES, WEIGHTS, folder_of


def scorer_maker(settings: Settings, folder: Path | None = None) -> Callable[[], Scorer]:
    """Return what opens the scorer that the settings choose; opening raises errors that say what to change.

    A folder with a manifest is a shipped model, one with `heads.json` a checkpoint for torch; any other that has a
    `config.json` is a Hugging Face sequence classifier, which takes the place of the shipped model's sentiment head.
    """
    path = folder_of(folder or settings.model)
    sentiment: str | Path | None = settings.sentiment_model or None
    if not path.is_dir():
        names = " or ".join(SIZES)
        raise FileNotFoundError(f"no folder {path}: name {names}, or a model's folder (WARROOM_MODEL, or --model)")
    if path.parent != WEIGHTS and not is_ours(path):
        if not (path / "config.json").is_file():
            raise ModelFilesDamaged(
                f"{path} holds no model: there is no {manifest.NAME} in it, nor the config.json of a Hugging Face "
                "classifier: restore the folder, or name another"
            )
        path, sentiment = SHIPPED, path
    return lambda: open_scorer(
        path,
        backend=settings.scorer,
        threads=settings.scorer_threads or None,
        sentiment_model=sentiment,
        sentiment_labels=settings.stated_labels,
    )


def score_stream(
    settings: Settings,
    folder: Path | None,
    source: BinaryIO,
    sink: BinaryIO,
    *,
    form: Form | None = None,
    column: str = "text",
) -> int:
    """Score rows from `source` to `sink` as JSON Lines; return the exit code (1 if any row had an error)."""
    scorer = scorer_maker(settings, folder)()
    try:
        return score_lines(source, sink, scorer, form=form, column=column)
    finally:
        scorer.close()


class NothingScored(RuntimeError):
    """No labelled text got a score: there is nothing to tell of the model."""


def evaluate_models(
    settings: Settings,
    folders: Sequence[Path | None],
    opened: Callable[[], BinaryIO],
    reading: Reading,
    *,
    form: Form | None = None,
    precision: float,
) -> list[Evaluation]:
    """Return an evaluation for each folder (None: the model of the settings), all on the same texts.

    `opened` opens the file; it is read twice, so that a bad label is told before anything is scored. Raise BadLabels,
    NoHeader, NothingScored, OSError, or what opening a scorer raises.
    """
    with ExitStack() as stack:
        survey_of(read_rows(stack.enter_context(opened()), form, reading.text, reading.columns), reading)
        scorers: list[Scorer] = []
        for folder in folders:
            scorers.append(scorer_maker(settings, folder)())
            stack.callback(scorers[-1].close)
        rows = read_rows(stack.enter_context(opened()), form, reading.text, reading.columns)
        judged = judge_each(scorers, read_labelled(rows, reading), reading.task)
    if len(judged[0].truth) == 0:
        reasons = "; ".join(f"{count}: {reason}" for reason, count in judged[0].reasons.items())
        raise NothingScored(f"none of {judged[0].unscored} labelled texts got a score ({reasons})")
    return evaluations(_names(scorers, folders), judged, reading.task, precision)


def _names(scorers: Sequence[Scorer], folders: Sequence[Path | None]) -> list[str]:
    """Return each model's id and revision, with the folder where two would be called alike."""
    names = [f"{scorer.model_id}@{scorer.model_revision}" for scorer in scorers]
    alike = len(set(names)) < len(names)
    return [f"{name} in {folder}" if alike and folder else name for name, folder in zip(names, folders, strict=True)]
