"""`warroom model adapt`: people's labels from files and the store, given to `nlp.adapt`.

Owns reading the labels in any form that `warroom model eval` reads. Does not own the fit (`nlp.adapt`) nor the command
line (`app.model_commands`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from app.process import utc_now
from app.settings import Settings
from nlp.adapt import adapt
from nlp.adapt_figures import Adaptation
from nlp.labelled import BadLabels
from nlp.rows import Form, read_rows
from nlp.scorer import LABELS, SENTIMENT
from nlp.shipped import folder_of
from nlp.verdicts import Verdict, verdict


def read_labels(name: str, source: BinaryIO, form: Form | None) -> Iterator[Verdict]:
    """Yield what people said of texts; raise BadLabels with `name` and line for the first row that can't be used."""
    for row in read_rows(source, form, also=LABELS):
        if row.fault:
            raise BadLabels(f"{name}, line {row.line}: {row.fault}")
        try:
            found = verdict(row.fields)
        except BadLabels as error:
            raise BadLabels(f"{name}, line {row.line}: {error}") from error
        if found is not None:
            yield found


def adapt_model(settings: Settings, folder: Path | None, verdicts: Iterable[Verdict], out: Path) -> Adaptation:
    """Adapt the model in `folder` (None: the one of the settings) into the new folder `out`; raise as `adapt` does.

    A task that a classifier of the settings answers is left as it was: the labels are of that classifier's doubts.
    """
    replaced = {SENTIMENT: f"{settings.sentiment_model} (WARROOM_SENTIMENT_MODEL)"} if settings.sentiment_model else {}
    return adapt(folder_of(folder or settings.model), verdicts, out, now=utc_now(), replaced=replaced)
