"""Is it there, is it ready, what are its figures; and a page that lists the endpoints."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy import text
from starlette.responses import HTMLResponse, JSONResponse, Response

from ..trust import Refused, store
from ..trust import policy as policies
from .auth import Who, caller_of
from .routes_openai import Svc
from .state import Service, aside

router = APIRouter(tags=["health"])
STYLE = "body{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto;padding:0 1em}td{padding:.2em 1em .2em 0;vertical-align:top}"
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
PAGE_POLICY = f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; frame-ancestors 'none'"


@router.get("/health")
async def health() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(service: Svc) -> Response:
    """Models are loaded and records can be kept."""
    checks = await aside(_checks, service)
    good = all(state == "ok" for state in checks.values())
    return JSONResponse(
        {"status": "ok" if good else "not ready", "checks": checks}, 200 if good else 503
    )


@router.get("/metrics", response_class=Response)
async def metrics(request: Request, service: Svc) -> Response:
    """Figures for Prometheus; with a key that may manage, unless the owner opened them."""
    if not service.settings.open_metrics:
        who = await caller_of(request)
        if who.name != "local" or who.id:
            who.need("manage")
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/me")
async def me(who: Who) -> dict[str, Any]:
    """What this key may do."""
    return {
        "id": who.id, "name": who.name, "role": who.role, "scopes": list(who.scopes),
        "voices": list(who.voices), "purpose": who.purpose,
        "per_minute": who.per_minute, "per_day": who.per_day,
    }  # fmt: skip


@router.get("/", include_in_schema=False)
async def page(request: Request) -> Response:
    """The endpoints, for people."""
    rows = []
    for path, methods in sorted(request.app.openapi()["paths"].items()):
        for method, told in methods.items():
            said = escape(told.get("description", ""))
            rows.append(f"<tr><td>{method.upper()}<td><code>{escape(path)}</code><td>{said}")
    html = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>voxray</title><style>{STYLE}</style>"
        "<h1>voxray</h1><p>The whole description: <a href=openapi.json>openapi.json</a>."
        f"<table>{''.join(rows)}</table>"
    )
    return HTMLResponse(html, headers={"Content-Security-Policy": PAGE_POLICY})


def _checks(service: Service) -> dict[str, str]:
    checks = {}
    try:
        policies.load()
        with store.reading() as session:
            session.execute(text("SELECT 1"))
        checks["records"] = "ok"
    except Refused as refusal:
        checks["records"] = refusal.code
    try:
        for name in service.models:
            service.bundle(name)
        checks["models"] = "ok"
    except (ValueError, OSError):
        checks["models"] = "not loaded"
    return checks
