"""Secrets by reference: `env:NAME` or `file:/path`, resolved when a part starts, never printed.

Owns the two reference forms. Does not own what a secret is for. The value itself never enters settings, logs or errors.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 64 * 1024


class SecretMissing(ValueError):
    """A reference that leads to no secret; the message names the reference and the remedy, never a value."""


def resolve_secret(reference: str) -> str:
    """Return the secret that `env:NAME` or `file:/path` refers to, without a line end at its end."""
    kind, _, name = reference.partition(":")
    if kind == "env" and name:
        value = os.environ.get(name)
        if not value:
            raise SecretMissing(f"the environment variable {name} is not set or empty; set it to the secret")
        return value
    if kind == "file" and name:
        return _from_file(Path(name))
    # What was written is not repeated: it may be the secret itself.
    raise SecretMissing("a secret must be a reference: write env:NAME or file:/absolute/path, not the secret itself")


def _from_file(path: Path) -> str:
    if not path.is_absolute():
        raise SecretMissing(f"file:{path} is not an absolute path; write file:/absolute/path")
    try:
        with path.open("rb") as opened:
            raw = opened.read(MAX_BYTES + 1)
        value = raw.decode().rstrip("\r\n")
    except OSError as error:
        raise SecretMissing(f"file:{path} can't be read ({error.strerror}); check its path and permissions") from error
    except UnicodeDecodeError as error:
        raise SecretMissing(f"file:{path} is not UTF-8 text; write the secret as text") from error
    if not value or len(raw) > MAX_BYTES:
        raise SecretMissing(f"file:{path} is empty or longer than 64 KiB; put only the secret into it")
    return value
