"""The database's address as people write it: for SQLite, or in libpq's words for PostgreSQL, put into the drivers'.

Owns which words of an address are understood and what they become. Does not own defaults nor connections
(`app.store.database`). What is refused is named without its value: an address may hold a password.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

_PASSED: Final = frozenset(
    {"host", "port", "user", "password", "target_session_attrs", "prepared_statement_cache_size"}
)
_SERVER: Final = frozenset({"application_name", "options"})
"""Parameters that PostgreSQL itself takes when a connection begins."""
_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_TARGETS: Final = ("any", "primary", "standby", "read-write", "read-only", "prefer-standby")
_VARIABLES: Final = {
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
    "passfile": "PGPASSFILE",
}
"""Variables of the environment that the driver reads in place of a parameter."""


class AddressUnreadable(ValueError):
    """An address that leads to no database; the message names the part and the remedy, never a value."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the database is: the URL with its asynchronous driver, and what the driver is told beside it."""

    url: URL
    timeout: float | None = None
    server_settings: Mapping[str, str] = field(default_factory=dict)

    def arguments(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Return the driver's arguments: `defaults` with what the address says in their place."""
        if self.url.get_backend_name() == "sqlite":
            return dict(defaults)
        found = {**defaults, "server_settings": {**defaults.get("server_settings", {}), **self.server_settings}}
        return found if self.timeout is None else {**found, "timeout": self.timeout}


def read_address(url: str) -> Address:
    """Return the address; AddressUnreadable for what is neither SQLite file nor PostgreSQL, or asks what we can't."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise AddressUnreadable("the database's address can't be read; write %40 for @ in a password") from None
    family = parsed.drivername.split("+")[0]
    if family in {"postgresql", "postgres"}:
        return _postgresql(parsed)
    if family == "sqlite" and parsed.database and parsed.database != ":memory:":
        if parsed.query:
            raise AddressUnreadable(f"a SQLite file takes no parameters; remove ?{_names(parsed)} from its address")
        return Address(parsed.set(drivername="sqlite+aiosqlite"))
    raise AddressUnreadable("the database must be sqlite:///PATH or postgresql://USER@HOST/NAME")


def _names(url: URL) -> str:
    return ", ".join(sorted(url.query))


def _postgresql(parsed: URL) -> Address:
    query = dict(parsed.query)
    for name in query:
        _known(name)
    given = {name: _one(name, value) for name, value in query.items() if name not in {"host", "port"}}
    mode = given.pop("sslmode", None) or given.pop("ssl", None)
    _chosen("sslmode", mode, _MODES)
    _chosen("target_session_attrs", given.get("target_session_attrs"), _TARGETS)
    wait = given.pop("connect_timeout", None)
    server = {name: given.pop(name) for name in _SERVER & given.keys()}
    kept = {name: query[name] for name in query if name in _PASSED}
    url = parsed.set(drivername="postgresql+asyncpg", query={**kept, **({"ssl": mode} if mode else {})})
    try:
        url.get_dialect()().create_connect_args(url)
    except (ArgumentError, ValueError):
        raise AddressUnreadable("host and port in the database's address don't fit; name one port for each") from None
    return Address(url, None if wait is None else _seconds(wait), server)


def _known(name: str) -> None:
    if name in _PASSED | _SERVER | {"sslmode", "ssl", "connect_timeout"}:
        return
    variable = _VARIABLES.get(name)
    remedy = f"set the environment variable {variable} in its place" if variable else "remove it"
    raise AddressUnreadable(f"the parameter {name} of the database's address is not supported; {remedy}")


def _one(name: str, value: str | tuple[str, ...]) -> str:
    if isinstance(value, str):
        return value
    raise AddressUnreadable(f"the parameter {name} of the database's address stands twice; keep one")


def _chosen(name: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise AddressUnreadable(f"{name} in the database's address must be one of {', '.join(known)}")


def _seconds(value: str) -> float:
    """Return libpq's connect_timeout, whole seconds; 0 waits for ever there, which would hang a start here."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 1 <= seconds <= 3600:  # noqa: PLR2004  an hour
        raise AddressUnreadable("connect_timeout in the database's address must be 1 to 3600 seconds")
    return seconds
