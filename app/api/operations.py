"""Routes of operations: health from progress, metrics.

Owns their form. Does not own the counters (`streams.metrics`) nor the verdict (`app.health`).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Depends, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.api.access import Access
from app.health import Health


def operation_routes(health: Health, access: Access, schema: Callable[[], dict[str, Any]]) -> APIRouter:
    """Return /health, /metrics and /openapi.json; `schema` gives the last."""
    router = APIRouter()

    @router.get("/health", openapi_extra={"x-role": "public"})
    async def verdict(response: Response) -> dict[str, object]:
        """How each part of this process is: `ok` goes round, `starting` not yet, `failing` no more (then 503)."""
        worst = health.verdict()
        response.status_code = 503 if worst == "failing" else 200
        return {"status": worst, "parts": health.states(), "version": version("warroom")}

    @router.get("/metrics", dependencies=[Depends(access.viewer)], openapi_extra={"x-role": "viewer"})
    async def metrics() -> Response:
        """Every counter, gauge and histogram in Prometheus' text format."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @router.get(
        "/openapi.json",
        dependencies=[Depends(access.viewer)],
        openapi_extra={"x-role": "viewer"},
        include_in_schema=False,
    )
    async def described() -> dict[str, Any]:
        """Return the description of all routes."""
        return schema()

    return router
