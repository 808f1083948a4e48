"""Process settings, from the environment alone: `WARROOM_*`, unknown ones refused.

Owns names, defaults and checks of what concerns one process (addresses, folders, model, limits). Does not own what a
team listens to: that is `warroom.yaml` (`app.configuration`). The README's table of settings is tested against this.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX: Final = "WARROOM_"
_TEST_PREFIX: Final = "WARROOM_TEST_"
_ORIGIN: Final = re.compile(r"(?!http://.*:80$|https://.*:443$)[a-z][a-z0-9+.-]*://[a-z0-9._:\[\]-]*[a-z0-9\]]")

Words = Annotated[tuple[str, ...], NoDecode]


class SettingsError(ValueError):
    """The environment is wrong; the message names the variable and what to do."""


class Settings(BaseSettings):
    """Everything a process needs to know of its place. Secrets may be given as `file:/path` instead of the value."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    config: Path = Field(
        default=Path("warroom.yaml"), description="what to listen to: sources, queries, rules, receivers"
    )
    data: Path = Field(default=Path("data"), description="folder of the embedded log and the SQLite database")
    host: str = Field(default="127.0.0.1", description="address to serve on")
    port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="port to serve on; empty: 8000 with walls, else a free one; 0: free one",
    )
    access_token: SecretStr = Field(
        default=SecretStr(""), description="bearer token of viewers; needed when host is not a loopback address"
    )
    origins: Words = Field(
        default=(),
        description="further origins whose pages may open the live WebSocket or write: https://wall.example,...",
    )
    kafka: str = Field(default="", description="bootstrap servers host:port,...; empty: the embedded log")
    kafka_idempotence: bool = Field(default=True, description="idempotent producer; off for brokers without it")
    kafka_partitions: int = Field(default=6, ge=1, le=1000, description="partitions of topics that are created")
    kafka_prefix: str = Field(default="warroom.", pattern=r"^[a-zA-Z0-9._-]*$", description="prefix of topic names")
    kafka_request_timeout: float = Field(
        default=5.0, ge=1, le=120, description="seconds a request to a broker may take; a lost one is left after it"
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="how to talk to the brokers"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="PLAIN", description="how to log in at the brokers"
    )
    kafka_username: str = Field(default="", description="user at the brokers")
    kafka_password: SecretStr = Field(default=SecretStr(""), description="password at the brokers")
    kafka_ca: Path | None = Field(default=None, description="certificate authority of the brokers, a PEM file")
    database_url: SecretStr = Field(
        default=SecretStr(""),
        description="postgresql://user:password@host/name or sqlite:///path; empty: SQLite in data",
    )
    model: Path | None = Field(default=None, description="model: small, fast or a folder; empty: small")
    sentiment_model: str = Field(
        default="",
        description="Hugging Face classifier that replaces the sentiment head: folder or hub id owner/name@revision "
        "(extra gpu)",
    )
    sentiment_labels: Words = Field(
        default=(), description="what its labels mean if their names do not tell: LABEL_0=negative,..., comma-separated"
    )
    scorer: Literal["auto", "onnx", "torch"] = Field(default="auto", description="auto: torch where CUDA is, else onnx")
    scorer_threads: int = Field(default=0, ge=0, le=256, description="threads of the model; 0: one per core")
    lateness: float = Field(default=5.0, ge=0, le=3600, description="seconds that the engine waits for late mentions")
    retention_days: int = Field(default=365, ge=1, le=36_500, description="days that mentions are kept in the store")
    log_retention_hours: float = Field(default=72.0, gt=0, le=876_000, description="hours that the embedded log keeps")
    log_retention_mb: int = Field(default=4096, ge=16, description="megabytes a topic that the embedded log keeps")
    title: str = Field(default="War Room", max_length=60, description="name on the wall")
    zones: Words = Field(
        default=("Asia/Jerusalem", "Asia/Tehran", "UTC"), description="clocks on the wall, IANA names, comma-separated"
    )
    max_clients: int = Field(default=2000, ge=1, description="open WebSockets a process accepts")
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="auto: text on a terminal, else json"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least severity logged")

    @property
    def stated_labels(self) -> dict[str, str]:
        """What `sentiment_labels` says, by the classifier's own label."""
        return dict(pair.rsplit("=", 1) for pair in self.sentiment_labels)

    @field_validator("origins", "zones", "sentiment_labels", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value

    @field_validator("sentiment_labels")
    @classmethod
    def _pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [pair for pair in value if not all(part.strip() for part in pair.rpartition("="))]:
            raise ValueError(f"{wrong[0]!r} does not say what a label means; write for example LABEL_0=negative")
        return value

    @field_validator("origins")
    @classmethod
    def _as_sent(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin as browsers send it; write for example https://wall.example: scheme and "
                    "name in small letters, the port if it is not the usual one, nothing after it"
                )
        return value

    @field_validator("zones")
    @classmethod
    def _zones(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            try:
                ZoneInfo(name)
            except (KeyError, ValueError, OSError) as error:
                raise ValueError(f"{name!r} is no IANA time zone; write for example Asia/Jerusalem") from error
        return value

    @field_validator("access_token", "database_url", "kafka_password")
    @classmethod
    def _from_file(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if not text.startswith("file:"):
            return value
        try:
            return SecretStr(Path(text.removeprefix("file:")).read_text(encoding="utf-8").strip())
        except OSError as error:
            raise ValueError(f"the file it refers to can't be read: {error.strerror}") from error

    @field_validator("database_url")
    @classmethod
    def _reachable(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            from app.store.address import read_address  # noqa: PLC0415  `warroom check` starts fast

            read_address(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _guarded(self) -> Settings:
        if not self.is_loopback and not self.access_token.get_secret_value():
            raise ValueError(
                f"host {self.host} can be reached from outside: set WARROOM_ACCESS_TOKEN (or serve on 127.0.0.1)"
            )
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the port."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def database(self) -> str:
        """The database URL in force. Never log it: it may hold a password."""
        return self.database_url.get_secret_value() or f"sqlite:///{self.data / 'warroom.db'}"


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings; raise SettingsError that names each wrong or unknown variable and the remedy.

    An empty variable means the default, as one that is not there: so do `.env` files and compose write "not set".
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    given = {name for name in environment if name.startswith(PREFIX) and not name.startswith(_TEST_PREFIX)}
    if unknown := sorted(given - known):
        raise SettingsError(
            f"unknown setting{'s' * (len(unknown) > 1)} {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )
    values = {name.removeprefix(PREFIX).lower(): environment[name] for name in given if environment[name]}
    try:
        return Settings(_env_prefix="WARROOM_NOT_READ_TWICE_", **values)  # type: ignore[arg-type]  # strings are parsed
    except ValidationError as error:
        faults = [
            f"{_variable(fault['loc'])}: {fault['msg'].removeprefix('Value error, ')}" for fault in error.errors()
        ]
        raise SettingsError("; ".join(faults)) from error


def _variable(location: tuple[int | str, ...]) -> str:
    return PREFIX + str(location[0]).upper() if location else "settings"
