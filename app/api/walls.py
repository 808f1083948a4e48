"""Routes of the walls: the page, the snapshot and the live socket.

Owns what a browser needs to show a wall. Does not own what is on it (`app.live`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response, WebSocket, status
from fastapi.responses import FileResponse

from app.api.access import Access
from app.live.hub import Hub
from app.live.socket import Place, serve

STATIC: Final = Path(__file__).resolve().parent.parent / "static"


def wall_routes(hub: Hub, access: Access, most: int) -> APIRouter:
    """Return the routes; `most` bounds the open sockets."""
    router = APIRouter()
    viewer = [Depends(access.viewer)]
    open_sockets: set[WebSocket] = set()

    @router.get("/", dependencies=viewer, openapi_extra={"x-role": "viewer"}, include_in_schema=False)
    @router.get("/wall", dependencies=viewer, openapi_extra={"x-role": "viewer"}, include_in_schema=False)
    @router.get("/wall/{realm}", dependencies=viewer, openapi_extra={"x-role": "viewer"}, include_in_schema=False)
    async def page() -> FileResponse:
        """Return the page of every wall; it reads its realm from the address."""
        index = STATIC / "index.html"
        if not index.is_file():
            raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, "the front end is not built: run `make setup`")
        return FileResponse(index, headers={"cache-control": "no-cache"})

    @router.get("/favicon.svg", openapi_extra={"x-role": "public"}, include_in_schema=False)
    async def icon() -> FileResponse:
        """Return the icon of the browser's tab."""
        return FileResponse(STATIC / "favicon.svg", media_type="image/svg+xml")

    @router.get("/api/wall/{realm}/snapshot", dependencies=viewer, openapi_extra={"x-role": "viewer"})
    async def snapshot(realm: str, request: Request) -> Response:
        """Return the whole wall of `live`, `rehearsal`, `replay` or `auto` now, with the position to follow it from."""
        known = hub.realm(realm)
        if known is None:
            raise HTTPException(
                status.HTTP_404_NOT_FOUND, f"no wall {realm!r}; known are auto, live, rehearsal, replay"
            )
        _refuse_unfilled(hub)
        taken = hub.snapshot(known)
        tag = f'"{taken.epoch}-{known}-{taken.seq}"'
        headers = {"etag": tag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
        return Response(taken.model_dump_json(), media_type="application/json", headers=headers)

    @router.websocket("/ws", dependencies=[Depends(access.viewer_socket)])
    async def live(
        socket: WebSocket,
        channel: Annotated[str, Query(alias="ch", max_length=40)],
        epoch: Annotated[str, Query(max_length=40)],
        start: Annotated[int, Query(alias="from", ge=0)],
        hz: Annotated[int, Query(ge=1, le=5)] = 5,
    ) -> None:
        """Frames of `ch=wall:REALM` after the snapshot at `epoch`, `from` being its seq + 1."""
        realm = hub.realm(channel.removeprefix("wall:"))
        if realm is None or not channel.startswith("wall:"):
            await socket.close(status.WS_1008_POLICY_VIOLATION, "unknown channel")
            return
        if len(open_sockets) >= most:
            await socket.close(status.WS_1013_TRY_AGAIN_LATER, "too many screens")
            return
        open_sockets.add(socket)
        try:
            await socket.accept()
            await serve(socket, hub, Place(realm=realm, epoch=epoch, seq=start - 1, rate=hz))
        finally:
            open_sockets.discard(socket)

    return router


def _refuse_unfilled(hub: Hub) -> None:
    """Raise 503 while the hub fills: an empty wall would be taken for the truth, and no frame would correct it."""
    if not hub.filled:
        raise HTTPException(
            status.HTTP_503_SERVICE_UNAVAILABLE,
            "the wall is being filled from the store; ask again in a moment",
            headers={"retry-after": "1"},
        )
