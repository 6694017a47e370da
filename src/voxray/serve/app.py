"""The application: routes, error handlers and the guard in front, put together once.

    app = create_app(Settings(api_v2=True), {"mini": None})

`models` maps registered names to folders, bundles, or None for the built-in model; the first is
what clients get that ask for none (or for OpenAI's).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from .. import __version__
from . import (
    routes_api_v2,
    routes_explain,
    routes_health,
    routes_live,
    routes_openai,
    routes_trust,
    routes_voices,
)
from .arenas import give_back
from .errors import on_error, response
from .guard import BodyProblem, Guard
from .settings import Settings
from .state import Model, Service, aside

TIDIED_SECONDS = 10.0  # between two goes at what was freed; one takes some milliseconds


class ErrorDetail(BaseModel):
    """Why not."""

    code: str
    message: str


class ErrorBody(BaseModel):
    """The body of every failure."""

    error: ErrorDetail


FAILURES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "Refused; nothing was said."},
    "5XX": {"model": ErrorBody, "description": "The service cannot, at present."},
}


def create_app(
    settings: Settings | None = None, models: Mapping[str, Model] | None = None
) -> FastAPI:
    """A service."""
    service = Service.build(settings or Settings(), models or {"mini": None})
    app = FastAPI(
        title="voxray",
        version=__version__,
        docs_url=None,  # their pages load scripts from elsewhere; `/` lists the endpoints
        redoc_url=None,
        lifespan=_lifespan,
        responses=FAILURES,
    )
    app.state.service = service
    for module in (
        routes_openai,
        routes_voices,
        routes_trust,
        routes_explain,
        routes_live,
        routes_health,
    ):
        app.include_router(module.router)
    if service.settings.api_v2:
        app.include_router(routes_api_v2.router)
    for kind in (HTTPException, RequestValidationError, ValueError, OSError):
        app.add_exception_handler(kind, on_error)
    app.add_exception_handler(BodyProblem, _body_problem)
    app.add_middleware(Guard, service=service)
    if service.settings.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(service.settings.origins),
            allow_methods=["GET", "POST", "DELETE"], allow_headers=["authorization", "content-type"],
        )  # fmt: skip
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Models are loaded before the first request; at the end, what is being said may end."""
    service: Service = app.state.service
    for name in service.models:
        await aside(service.bundle, name)
    tidying = asyncio.create_task(_tidy(service))
    yield
    tidying.cancel()
    await aside(service.scheduler.stop)


async def _tidy(service: Service) -> None:
    """What was freed goes back to the system, now and then where work was done and once after it."""
    seen = 0.0
    while True:
        await asyncio.sleep(TIDIED_SECONDS)
        worked = service.scheduler.busy_seconds
        if worked != seen:
            await aside(give_back)
            seen = worked


async def _body_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, BodyProblem)
    return response(error.problem)
