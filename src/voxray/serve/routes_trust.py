"""Consents, keys and verification over HTTP: the same functions as `voxray trust`.

Operators see and end consents and give their word for one; prompts may be asked for by who may
clone. A caller that verifies a file learns of its own records only.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, File, UploadFile
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ..trust import access, consent, reading, records
from ..trust.access import Caller
from ..trust.verify import examine
from .auth import Who, allowed
from .errors import Problem
from .routes_openai import Svc
from .state import Service, aside
from .uploads import kept

router = APIRouter(tags=["trust"])
DAY = 86_400.0
Names = Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=100)]
Days = Annotated[float | None, Field(gt=0, le=36_500)]


class Strict(BaseModel):
    """No unknown fields."""

    model_config = ConfigDict(extra="forbid")


class PromptBody(Strict):
    """Which language is read aloud."""

    language: Annotated[str, Field(pattern="^(en|zh)$")] = "en"


class ConsentBody(Strict):
    """An operator's word that a speaker agreed."""

    voice: Annotated[str, Field(max_length=200)]
    speaker: Annotated[str, Field(min_length=1, max_length=64)]
    purposes: Names = ["personal"]
    languages: Names = ["en", "zh"]
    days: Days = None


class KeyBody(Strict):
    """A key to be made."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    role: Annotated[str, Field(max_length=20)] = "caller"
    scopes: Names = ["speak"]
    voices: Names = []
    purpose: Annotated[str, Field(max_length=20)] = "personal"
    per_minute: Annotated[int, Field(ge=0, le=10**9)] = 0
    per_day: Annotated[int, Field(ge=0, le=10**9)] = 0
    days: Days = None


@router.post("/v1/consents/prompt", status_code=201)
async def prompt(body: PromptBody, who: Who, service: Svc) -> dict[str, Any]:
    """A sentence with a fresh number, to be read aloud within half an hour."""

    def ask() -> dict[str, Any]:
        with allowed(who, "clone"):
            asked = reading.prompt(body.language, who.actor)
        return {"number": asked.number, "sentence": asked.sentence, "language": asked.language}

    service.count_heavy(who)
    return await aside(ask)


@router.get("/v1/consents")
async def consents(who: Who) -> dict[str, Any]:
    """Every consent record."""

    def show() -> list[dict[str, Any]]:
        with allowed(who, "voices", "operator"):
            return [consent.summary(*pair) for pair in consent.listed()]

    return {"data": await aside(show)}


@router.post("/v1/consents", status_code=201)
async def attest(body: ConsentBody, who: Who, service: Svc) -> dict[str, Any]:
    """Put on record, on the operator's word, that a speaker agreed."""

    def give() -> dict[str, Any]:
        with allowed(who, "voices", "operator"):
            given = consent.give(
                service.voices.find(who, body.voice), body.speaker, purposes=body.purposes,
                languages=body.languages, expires=_until(body.days), actor=who.actor,
            )  # fmt: skip
        return consent.summary(given, None)

    return await aside(give)


@router.delete("/v1/consents/{identifier}", status_code=204)
async def revoke(identifier: str, who: Who, reason: str = "") -> Response:
    """End a consent; speech under way stops at its next chunk."""

    def end() -> None:
        with allowed(who, "voices", "operator"):
            _must_be(identifier, (content.id for content, _ in consent.listed()), "consent")
            consent.revoke(identifier, reason[:200], who.actor)

    await aside(end)
    return Response(status_code=204)


@router.get("/v1/keys")
async def keys(who: Who) -> dict[str, Any]:
    """Every key, without its secret."""

    def show() -> list[dict[str, object]]:
        with allowed(who, "manage", "operator"):
            return access.listed()

    return {"data": await aside(show)}


@router.post("/v1/keys", status_code=201)
async def make_key(body: KeyBody, who: Who) -> dict[str, Any]:
    """Make a key; its text is shown this once."""

    def make() -> dict[str, Any]:
        with allowed(who, "manage", "operator"):
            text, made = access.make_key(
                body.name, role=body.role, scopes=body.scopes, voices=body.voices,
                purpose=body.purpose, per_minute=body.per_minute, per_day=body.per_day,
                expires=_until(body.days),
            )  # fmt: skip
        return {"key": text, "id": made.id, "name": made.name, "role": made.role}

    return await aside(make)


@router.delete("/v1/keys/{identifier}", status_code=204)
async def revoke_key(identifier: str, who: Who) -> Response:
    """End a key at once."""

    def end() -> None:
        with allowed(who, "manage", "operator"):
            _must_be(identifier, (key["id"] for key in access.listed()), "key")
            access.revoke_key(identifier)

    await aside(end)
    return Response(status_code=204)


@router.post("/v1/verify")
async def verify(audio: Annotated[UploadFile, File()], who: Who, service: Svc) -> dict[str, Any]:
    """What can be said of a file: proven, likely, unknown."""
    service.count_heavy(who)
    data = await audio.read()
    task = service.scheduler.reserve(who.actor)
    return await task.submit(_examine(service, who, data)).only()


def _examine(service: Service, who: Caller, data: bytes) -> Iterator[dict[str, Any]]:
    with allowed(who, "verify"), kept(data, service.settings.most_decoded) as path:
        finding = examine(path)
    report = finding.report() | {"file": "recording"}
    if who.role == "caller":
        hidden = [item.id for item in finding.records if not _own(who, item)]
        report = _without(report, hidden)
    yield report


def _own(who: Caller, item: records.Spoken) -> bool:
    return bool(who.id) and item.key == who.id


def _without(report: dict[str, Any], hidden: list[str]) -> dict[str, Any]:
    """The report without what belongs to others."""
    shown = dict(report)
    shown["records"] = [name for name in report["records"] if name not in hidden]
    for part in ("proven", "likely", "unknown", "warnings"):
        shown[part] = [line for line in report[part] if not any(name in line for name in hidden)]
    if hidden and shown["watermark"]:
        shown["watermark"] = {**shown["watermark"], "number": None, "low_word": None}
        shown["credentials"] = None
    return shown


def _must_be(identifier: str, known: Iterable[object], what: str) -> None:
    if identifier not in known:
        raise Problem("not-found", f"there is no {what} {identifier!r:.80}")


def _until(days: float | None) -> float | None:
    return None if days is None else time.time() + days * DAY
