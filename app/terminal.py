"""What the commands share: how they end with a message, and how they read settings and configuration or end.

Owns those words and exits. Does not own any command (`app.commands`, `app.model_commands`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

if TYPE_CHECKING:
    from app.configuration import Configuration
    from app.settings import Settings

_PLAIN: Final = "\n\t\u200c\u200d"
"""What may be printed though Python does not count it as printable."""


def fail(message: str, code: int = 2) -> NoReturn:
    """Print why on standard error and exit. What a file made of it can't steer the terminal."""
    click.echo("".join(char if char.isprintable() or char in _PLAIN else "\ufffd" for char in message), err=True)
    sys.exit(code)


def read_settings() -> Settings:
    """Return the process settings, or exit with what is wrong."""
    from app.settings import SettingsError, load_settings  # noqa: PLC0415  commands start fast

    try:
        return load_settings()
    except SettingsError as error:
        fail(f"settings: {error}")


def read_file(path: Path) -> Configuration:
    """Return the configuration in `path`, or exit with every fault."""
    from app.configuration import read_configuration  # noqa: PLC0415  commands start fast
    from app.yaml_lines import ConfigurationError  # noqa: PLC0415  commands start fast

    try:
        return read_configuration(path)
    except ConfigurationError as error:
        count = len(error.faults)
        fail(f"{error}\n{count} fault{'s' * (count > 1)} in {path}; nothing was changed")


def warn_of_secrets(configuration: Configuration) -> None:
    """Say on standard error which secrets this process could not resolve: the running ones may have them."""
    from app.configuration import missing_secrets  # noqa: PLC0415  commands start fast

    for missing in missing_secrets(configuration):
        click.echo(f"warning: {missing}", err=True)
