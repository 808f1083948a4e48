"""The route of webhooks: a signed POST that is answered only after its mentions are durable in the log.

Owns reading a bounded body and the HTTP form of the answer. Does not own signatures or parsing: the source does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from fastapi import APIRouter, HTTPException, Request, Response, status
from fastapi.responses import JSONResponse

from streams.sources.webhook import WebhookSource

MAX_BODY: Final = 256 * 1024
BODY_WITHIN: Final = 30.0
"""Seconds that a sender has for a body."""


def ingest_routes(find: Callable[[str], WebhookSource | None], known: Callable[[str], bool]) -> APIRouter:
    """Return the route; `find` gives the webhook source of an id that runs here, `known` says if it is configured."""
    router = APIRouter()

    @router.post("/ingest/{source_id}", openapi_extra={"x-role": "signed"})
    async def ingest(source_id: str, request: Request) -> Response:
        """Take mentions from a signed webhook: 202 once they are durable, 200 for a repeat, 429 when it is too much."""
        source = find(source_id)
        if source is None and known(source_id):
            raise HTTPException(
                status.HTTP_503_SERVICE_UNAVAILABLE,
                f"webhook source {source_id!r} runs in another process of role ingest, or is about to start; try again",
                headers={"retry-after": "2"},
            )
        if source is None:
            raise HTTPException(status.HTTP_404_NOT_FOUND, f"no webhook source {source_id!r} runs here")
        body = await bounded_body(request, MAX_BODY, "send fewer mentions at a time")
        answer = await source.accept(request.headers, body)
        headers = {"retry-after": str(answer.retry_after)} if answer.retry_after else None
        return JSONResponse({"detail": answer.detail}, answer.status, headers)

    return router


async def bounded_body(request: Request, most: int, remedy: str) -> bytes:
    """Return the body of at most `most` bytes; 413 with the remedy for a longer one, without reading it all.

    One that is not there in time is a 408 and the end of the connection: whoever sends slowly would hold it for ever.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise HTTPException(status.HTTP_413_CONTENT_TOO_LARGE, f"body: more than {most} bytes; {remedy}")
    except TimeoutError as error:
        late = f"body: not there within {BODY_WITHIN:g} seconds; send it again at once"
        raise HTTPException(status.HTTP_408_REQUEST_TIMEOUT, late, {"connection": "close"}) from error
    return bytes(body)
