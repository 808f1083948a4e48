"""The command line: `warroom ...`. The only place that reads the environment, prints, sets signals and exits.

Owns arguments, messages and exit codes (0 fine, 1 failed, 2 wrong use or configuration); the commands about the model
stand in `app.model_commands`. Does not own what a command does: each calls one function of another module, imported
when it is needed so that `warroom check` starts at once.
"""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from app.model_commands import model, score
from app.roles import ROLES, Role
from app.terminal import fail, read_file, read_settings, warn_of_secrets


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="warroom")
def main() -> None:
    """War Room: hear what people say of you on every channel, while they say it."""


@main.command()
def up() -> None:
    """Run every role in this process, until Ctrl-C."""
    start(ROLES)


@main.command()
@click.argument("role", type=click.Choice(ROLES))
def run(role: Role) -> None:
    """Run one role; needs WARROOM_KAFKA and a PostgreSQL address in WARROOM_DATABASE_URL."""
    settings = read_settings()
    if not settings.kafka or not settings.database.startswith("postgres"):
        fail(
            "a single role shares its log and its store with the others: set WARROOM_KAFKA=host:port and "
            "WARROOM_DATABASE_URL=postgresql://user:password@host/name, or run all roles with `warroom up`"
        )
    start((role,))


def start(roles: tuple[Role, ...]) -> None:
    """Run the roles until a signal; exit 1 with one line when one of them can't go on."""
    from app.configuration import missing_secrets  # noqa: PLC0415  commands start fast
    from app.logs import configure_logs  # noqa: PLC0415  commands start fast
    from app.supervision import run_process  # noqa: PLC0415  commands start fast

    settings = read_settings()
    configuration = read_file(settings.config)
    if missing := missing_secrets(configuration):
        fail("\n".join([*missing, f"{settings.config}: give this process its secrets, then start it again"]))
    configure_logs(settings.log_format, settings.log_level)
    sys.exit(run_process(settings, configuration, roles))


@main.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
def check(file: Path | None) -> None:
    """Check FILE (default: WARROOM_CONFIG) as a whole; say every fault with its line and remedy."""
    path = file or read_settings().config
    found = read_file(path)
    warn_of_secrets(found)
    click.echo(
        f"{path}: fine: {len(found.sources)} sources, {len(found.queries)} queries, {len(found.rules)} rules, "
        f"{len(found.receivers)} receivers"
    )


@main.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
def apply(file: Path | None) -> None:
    """Put FILE (default: WARROOM_CONFIG) into force in every running process, within seconds and without a restart.

    The processes are those on the same database: WARROOM_DATA or WARROOM_DATABASE_URL as they have it.
    """
    from app.applying import apply_configuration  # noqa: PLC0415  commands start fast
    from app.opening import database_name  # noqa: PLC0415  commands start fast

    settings = read_settings()
    path = file or settings.config
    found = read_file(path)
    warn_of_secrets(found)
    try:
        revision, changed = apply_configuration(settings, found)
    except RuntimeError as error:
        fail(f"{path}: not applied, the store did not take it: {error}", 1)
    state = "in force as" if changed else "unchanged, in force as"
    click.echo(f"{path}: {state} revision {revision} in {database_name(settings)}")


_SPEEDS: Final = click.FloatRange(0.01, 100_000)


def _number(_context: click.Context, _option: click.Parameter, value: float) -> float:
    """Return the value; a range lets nan through."""
    if math.isnan(value):
        raise click.BadParameter(f"{value} is not a number, as 60 is.")
    return value


@main.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False)
@click.option("--from", "begin", type=click.DateTime(), help="replay the store from here (UTC)")
@click.option("--to", "end", type=click.DateTime(), help="up to here (UTC)")
@click.option("--speed", callback=_number, type=_SPEEDS, default=60.0, show_default=True, help="times real time")
@click.option("--realm", type=click.Choice(["live", "rehearsal"]), default="live", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8001, show_default=True)
@click.option("--exit-at-end", is_flag=True, help="stop when all is replayed instead of keeping the wall open")
def replay(
    file: Path | None,
    begin: datetime | None,
    end: datetime | None,
    speed: float,
    realm: str,
    port: int,
    exit_at_end: bool,
) -> None:
    """Replay recorded mentions through the same engine onto a wall marked REPLAY; live data is not touched.

    Either FILE (JSON Lines, CSV or TSV, plain or .gz) or --from and --to (from the store). Says at the end how much was
    replayed; with --exit-at-end the exit code is 1 if that was nothing, and 2 if FILE can't be read.
    """
    from app.logs import configure_logs  # noqa: PLC0415  commands start fast
    from app.replay import Recording, RecordingRefused, run_replay  # noqa: PLC0415  commands start fast

    if (file is None) == (begin is None or end is None):
        fail("name either a FILE or both --from and --to")
    if begin and end and begin >= end:
        fail(f"--from {begin:%Y-%m-%dT%H:%M:%S} must be before --to {end:%Y-%m-%dT%H:%M:%S}; nothing lies between them")
    settings = read_settings()
    configuration = read_file(settings.config)
    configure_logs(settings.log_format, settings.log_level)
    span = (begin.replace(tzinfo=UTC), end.replace(tzinfo=UTC)) if begin and end else None
    recording = Recording(file=file, span=span, realm=realm, speed=speed, stop_at_end=exit_at_end)
    try:
        sys.exit(run_replay(settings, configuration, recording, port))
    except RecordingRefused as error:
        fail(f"replay: {error}")


main.add_command(score)
main.add_command(model)


if __name__ == "__main__":
    main()
