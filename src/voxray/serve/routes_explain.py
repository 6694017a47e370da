"""Explanations over HTTP: a job that says a text, opens the synthesis, and returns every number.

POST /v1/explanations -> {"id", "state"}; GET /v1/explanations/ID -> the same, `result` when done.
It is one slice of the scheduler's, so that its probes meet no other request's model run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from ..engine import default_voice
from ..trust import gate
from ..trust import policy as policies
from ..trust.access import Caller
from ..trust.consent import Wanted
from .auth import Who, allowed
from .errors import Problem
from .jobs import Job
from .routes_openai import Svc
from .scheduler import Task
from .state import Service
from .voices import need_consent

router = APIRouter(tags=["explain"])
MOST_CHARACTERS = 300
_waiting: set[asyncio.Task[None]] = set()  # the loop itself holds tasks weakly


class ExplainBody(BaseModel):
    """What to explain."""

    model_config = ConfigDict(extra="forbid")
    input: Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]
    voice: Annotated[str, Field(max_length=200)] | None = None
    model: Annotated[str, Field(max_length=200)] = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


@router.post("/v1/explanations", status_code=202)
async def ask(body: ExplainBody, who: Who, service: Svc) -> dict[str, Any]:
    """Start an explanation."""
    if not body.input.strip():
        raise Problem("text-empty", "the text is empty")
    name = service.model_name(body.model)
    service.count_heavy(who)
    task = service.scheduler.reserve(who.actor)
    job = service.jobs.add(who.actor)
    waiting = asyncio.create_task(_finish(job, task.submit(_explain(service, who, body, name))))
    _waiting.add(waiting)
    waiting.add_done_callback(_waiting.discard)
    return job.report()


@router.get("/v1/explanations/{identifier}")
async def fetch(identifier: str, who: Who, service: Svc) -> dict[str, Any]:
    """The state of an explanation, and what came out."""
    return service.jobs.find(who.actor, identifier).report()


async def _finish(job: Job, task: Task) -> None:
    try:
        job.finish(await task.only())
    except Exception as error:  # noqa: BLE001 - told to whoever fetches the job
        job.fail(error)


def _explain(
    service: Service, who: Caller, body: ExplainBody, name: str
) -> Iterator[dict[str, Any]]:
    from ..explain.report import explain

    with allowed(who, "speak"):
        voice = service.voices.find(who, body.voice or default_voice(body.input))
        if service.settings.consent == "required":
            purpose = who.purpose or policies.load().purpose
            need_consent(voice, Wanted(purpose, gate.languages_of(body.input)))
        with service.alone(name):  # it attaches to the models
            report = explain(body.input, voice, seed=body.seed, model=service.models[name])
        service.metrics.audio.inc(report.trace.synthesis.seconds)
        yield {**report.to_json(), "voice_source": ""}
