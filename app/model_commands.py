"""The commands about the model: `warroom score` and `warroom model eval | adapt | show`.

Owns their arguments, messages and exit codes, as `app.commands` does for the others. Does not own what they do
(`app.scoring`, `app.adapting`, `nlp`). `score` and `model eval` read the same files by the same options.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import click

from app.terminal import fail, read_settings

TASKS: Final = ("sentiment", "urgency", "intent")
_STDIN: Final = Path("-")
_STORE: Final = Path("store")
"""Told by identity: `./store`, a file of that name, is an equal path."""
_COLUMNS: Final = ("text", "label", "lang")

_Decorator = Callable[[Callable[..., None]], Callable[..., None]]

_form: _Decorator = click.option(
    "--input",
    "form",
    type=click.Choice(["auto", "jsonl", "csv", "tsv"]),
    default="auto",
    show_default=True,
    help="form of FILE; auto: by its name, else by its first line",
)


def _pairs(_context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """Return `left=right` options as a mapping; the right side is what follows the last equals sign."""
    found: dict[str, str] = {}
    for pair in given:
        left, equals, right = pair.rpartition("=")
        if not equals or not left:
            raise click.BadParameter(f"{pair!r} is not of the form left=right", param=parameter)
        found[left] = right
    return found


def _columns(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    found = _pairs(context, parameter, given)
    if unknown := [name for name in found if name not in _COLUMNS]:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(_COLUMNS)}", param=parameter)
    return found


_column: _Decorator = click.option(
    "--column",
    "columns",
    multiple=True,
    callback=_columns,
    metavar="OURS=THEIRS",
    help="what FILE calls a column: text=review, label=stars, lang=language; repeat for each",
)


class _Texts(click.Path):
    """A file that is there, "-" for standard input, or `store` for the labels of the review queue."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, exists=True, dir_okay=False, allow_dash=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return _STORE if str(value) == str(_STORE) else super().convert(value, param, ctx)


@contextmanager
def _told() -> Iterator[None]:
    """End with one line where a model or a file can't be used: 2 for what the user wrote, 1 for what failed.

    SIGTERM ends the block as an exception does, so that no scratch folder and no copy of texts stays.
    """
    from app.scoring import NothingScored  # noqa: PLC0415  commands start fast
    from app.store_labels import StoreAway  # noqa: PLC0415  commands start fast
    from nlp.adapt import (  # noqa: PLC0415  commands start fast
        FolderRefused,
        FolderTaken,
        ForeignModel,
        NoEmbedding,
        TooFewLabels,
    )
    from nlp.choice import BackendMissing  # noqa: PLC0415  commands start fast
    from nlp.labelled import BadLabels  # noqa: PLC0415  commands start fast
    from nlp.labels import LabelsRefused  # noqa: PLC0415  commands start fast
    from nlp.rows import NoHeader  # noqa: PLC0415  commands start fast
    from nlp.scorer import ModelFilesDamaged, ScorerError  # noqa: PLC0415  commands start fast

    before = signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        yield
    except (BadLabels, NoHeader, TooFewLabels, FolderTaken, FolderRefused, NoEmbedding, ForeignModel) as error:
        fail(f"{_name()}: {error}", 2)
    except BrokenPipeError:
        # Whoever read has gone: what is still buffered goes nowhere, or Python would complain of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ModelFilesDamaged, BackendMissing, LabelsRefused, NothingScored, ScorerError, StoreAway, OSError) as error:
        fail(f"{_name()}: {error}", 1)
    finally:
        signal.signal(signal.SIGTERM, before)


def _name() -> str:
    """Return the command as it was called, without the program's own name."""
    context, names = click.get_current_context(), list[str]()
    while context.parent is not None:
        names.insert(0, context.info_name or "")
        context = context.parent
    return " ".join(names)


def _form_of(file: Path, form: str) -> str | None:
    from nlp.rows import form_of  # noqa: PLC0415  commands start fast

    if file is _STORE:
        return "jsonl"
    return form_of(file.name) if form == "auto" else form


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True), default="-")
@click.option("--model", "folder", type=click.Path(path_type=Path), default=None, help="small, fast or a folder")
@_form
@_column
def score(file: Path, folder: Path | None, form: str, columns: dict[str, str]) -> None:
    """Score FILE (default: standard input): JSON Lines, CSV or TSV with `text`, plain or .gz.

    Writes each row with its scores as a JSON line, in order. Exit code 1 if any row has an error.
    """
    with _told():
        from app.scoring import score_stream  # noqa: PLC0415  commands start fast
        from nlp.rows import Form, open_rows  # noqa: PLC0415  commands start fast

        source = sys.stdin.buffer if file == _STDIN else open_rows(file)
        with source:
            code = score_stream(
                read_settings(),
                folder,
                source,
                sys.stdout.buffer,
                form=cast("Form | None", _form_of(file, form)),
                column=columns.get("text", "text"),
            )
    sys.exit(code)


@click.group()
def model() -> None:
    """Measure, adapt and describe models."""


@contextmanager
def _twice(file: Path) -> Iterator[Callable[[], BinaryIO]]:
    """Give what opens the file anew each time; standard input, pipes and the store's labels are copied first."""
    from app.store_labels import write_labels  # noqa: PLC0415  commands start fast
    from nlp.rows import open_rows  # noqa: PLC0415  commands start fast

    if file is not _STORE and file != _STDIN and file.is_file():
        yield partial(open_rows, file)
        return
    with tempfile.NamedTemporaryFile(prefix="warroom-") as copy:
        if file is _STORE:
            write_labels(read_settings(), cast("BinaryIO", copy))
        elif file == _STDIN:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        else:
            with open_rows(file) as source:
                shutil.copyfileobj(source, copy)
        copy.flush()
        yield partial(open_rows, Path(copy.name))


@model.command("eval")
@click.argument("file", type=_Texts())
@click.option("--task", type=click.Choice(TASKS), required=True, help="what the labels tell")
@click.option(
    "--model",
    "folders",
    type=click.Path(path_type=Path),
    multiple=True,
    help="small, fast or a folder; repeat it to compare models on the same texts",
)
@click.option(
    "--precision",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.9,
    show_default=True,
    help="how right must be what is kept, for the share that can be kept",
)
@click.option("--format", "shape", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option(
    "--labels",
    "means",
    multiple=True,
    callback=_pairs,
    metavar="THEIRS=OURS",
    help="what a label of FILE means: POS=positive; 'mixed=' leaves such texts out; repeat for each",
)
@_form
@_column
def evaluate(  # noqa: PLR0913  click hands each option over by name
    *,
    file: Path,
    task: str,
    folders: tuple[Path, ...],
    precision: float,
    shape: str,
    means: dict[str, str],
    form: str,
    columns: dict[str, str],
) -> None:
    """Measure the model on the labelled texts of FILE: JSON Lines, CSV or TSV, plain or .gz.

    "-" is standard input, `store` stands for the labels that people gave in the review queue.
    FILE has `text`, the true label under the task's name or under `label`, and optionally `lang`. Prints macro-F1,
    macro-recall, accuracy, calibration error, coverage at the chosen precision, and doubt, per class and per language,
    with 95 % bootstrap intervals. Exit code 1 if the model failed on a text or none was scored, 2 if FILE can't be
    used as it is.
    """
    with _told(), _twice(file) as opened:
        from app.scoring import evaluate_models  # noqa: PLC0415  commands start fast
        from nlp.evaluation_report import as_object, markdown  # noqa: PLC0415  commands start fast
        from nlp.labelled import Reading  # noqa: PLC0415  commands start fast
        from nlp.rows import Form  # noqa: PLC0415  commands start fast

        found = evaluate_models(
            read_settings(),
            folders or (None,),
            opened,
            Reading(task, columns.get("text", "text"), columns.get("label"), columns.get("lang", "lang"), means),
            form=cast("Form | None", _form_of(file, form)),
            precision=precision,
        )
        click.echo(json.dumps(as_object(found), ensure_ascii=False, indent=1) if shape == "json" else markdown(found))
    if failed := found[0].judged.failed:
        fail(f"model eval: the model failed on {failed} texts", 1)


@model.command()
@click.argument("files", metavar="LABELS...", type=_Texts(), nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="the new model's folder; must not exist")
@click.option("--model", "folder", type=click.Path(path_type=Path), default=None, help="small, fast or a folder")
@_form
def adapt(files: tuple[Path, ...], out: Path, folder: Path | None, form: str) -> None:
    """Refit heads and calibration on people's LABELS, into a new folder beside the old model.

    LABELS are files as `model eval` reads them, with the labels under their tasks' names, "-" for standard input, or
    `store` for the labels of the review queue. Prints both models' figures on these labels. Exit code 0 if the new
    model is better, 1 if it is not (it is written all the same), 2 if labels, model or --out can't be used or the
    labels are too few: 60 texts of a task are needed and 10 of each of its labels.
    """
    with _told(), ExitStack() as stack:
        from app.adapting import adapt_model, read_labels  # noqa: PLC0415  commands start fast
        from nlp.adapt_figures import report  # noqa: PLC0415  commands start fast
        from nlp.rows import Form  # noqa: PLC0415  commands start fast

        verdicts = [
            one
            for file in files
            for one in read_labels(
                str(file),
                stack.enter_context(stack.enter_context(_twice(file))()),
                cast("Form | None", _form_of(file, form)),
            )
        ]
        made = adapt_model(read_settings(), folder, verdicts, out)
        click.echo(report(made))
    if not made.recommended:
        sys.exit(1)


@model.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--format", "shape", type=click.Choice(["table", "json"]), default="table", show_default=True)
def show(folder: Path | None, shape: str) -> None:
    """Describe the model in FOLDER (default: the one in use): id, revision, size, checksums, tasks, calibration.

    Of the one in use it names the classifier that answers in the place of its sentiment head, if one does. Exit code 1
    if a file is missing or is not the one that the manifest names.
    """
    with _told():
        from nlp.description import describe, lines, with_head  # noqa: PLC0415  commands start fast
        from nlp.shipped import folder_of  # noqa: PLC0415  commands start fast

        settings = read_settings()
        found = describe(folder_of(folder or settings.model), None if folder else settings.stated_labels)
        if folder is None and settings.sentiment_model:
            found = with_head(found, settings.sentiment_model)
        told = asdict(found) | {"sound": found.sound, "bytes": found.bytes}
        click.echo(json.dumps(told, ensure_ascii=False, indent=1) if shape == "json" else "\n".join(lines(found)))
    if not found.sound:
        sys.exit(1)
