"""Who may call what: every route declares a role, and this module checks it.

Owns the roles `public` (health), `viewer` (sees what is heard) and `signed` (a webhook's own signature). Does not own
accounts: until they exist a viewer is whoever sits at this machine, or holds WARROOM_ACCESS_TOKEN (as a bearer token,
or as the password of HTTP Basic, which browsers send along with WebSockets too).
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Final
from urllib.parse import SplitResult, urlsplit

from fastapi import HTTPException, WebSocket, WebSocketException, status
from starlette.requests import HTTPConnection, Request

from app.settings import Settings

ROLES: Final = ("public", "viewer", "signed")
_HERE: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_ELSEWHERE: Final = frozenset({"cross-site", "same-site"})


class Access:
    """Checks connections against the process settings."""

    def __init__(self, settings: Settings) -> None:
        self._token = settings.access_token.get_secret_value()
        self._origins = frozenset(settings.origins)

    def viewer(self, request: Request) -> None:
        """Dependency of routes: 401 without the token, 421 for a foreign Host (DNS rebinding) where no token is set."""
        if not self._token and _host(request) not in _HERE:
            raise HTTPException(
                status.HTTP_421_MISDIRECTED_REQUEST, "this name is not served; use http://127.0.0.1 or set a token"
            )
        if not self._known(request):
            raise HTTPException(
                status.HTTP_401_UNAUTHORIZED,
                "an access token is needed (WARROOM_ACCESS_TOKEN)",
                headers={"WWW-Authenticate": 'Basic realm="War Room", charset="UTF-8"'},
            )

    def viewer_writes(self, request: Request) -> None:
        """Dependency of routes that change something: as `viewer`, and 403 for what another site's page sends.

        Browsers send our Basic password along with such requests too; they say where from in Origin and Sec-Fetch-Site.
        """
        self.viewer(request)
        unnamed = "origin" not in request.headers and request.headers.get("sec-fetch-site") in _ELSEWHERE
        if unnamed or self._foreign(request):
            raise HTTPException(status.HTTP_403_FORBIDDEN, "a page of another site may not do this")

    def viewer_socket(self, socket: WebSocket) -> None:
        """Dependency of sockets: as `viewer`; a browser's Origin must be ours or listed in WARROOM_ORIGINS."""
        if self._foreign(socket):
            raise WebSocketException(status.WS_1008_POLICY_VIOLATION, "origin not allowed")
        if (not self._token and _host(socket) not in _HERE) or not self._known(socket):
            raise WebSocketException(status.WS_1008_POLICY_VIOLATION, "an access token is needed")

    def _foreign(self, connection: HTTPConnection) -> bool:
        origin = connection.headers.get("origin")
        own = connection.headers.get("host")
        return origin is not None and origin not in self._origins and _split(origin).netloc != own

    def _known(self, connection: HTTPConnection) -> bool:
        if not self._token:
            return True
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode("utf-8", "replace").partition(":")[2]
            except (binascii.Error, ValueError):
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given.encode(), self._token.encode())


def _host(connection: HTTPConnection) -> str:
    return (_split(f"//{connection.headers.get('host', '')}").hostname or "").lower()


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # "[": no address at all
        return urlsplit("")
