"""Voices over HTTP: list, make from a recording, delete; and voice conversion.

A caller's voice belongs to its key; an operator's to everybody. Making one needs the scope `clone`.
A voice without consent is kept and does not speak: the consent may come with the recording (a
second one, of the sentence that /v1/consents/prompt handed out), or from an operator.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, UploadFile
from starlette.responses import Response

from .. import engine
from ..trust import consent, gate, reading
from ..trust import policy as policies
from ..trust.access import Caller
from ..voice import Voice
from .auth import Who, allowed
from .encoding import TYPES, check_format, encoder_for
from .errors import Problem
from .fetching import fetched
from .routes_openai import SOUND, Svc
from .scheduler import Task
from .state import Service, aside
from .uploads import kept
from .voices import check_name, need_consent

router = APIRouter(tags=["voices"])
Text = Annotated[str, Form(max_length=2000)]
Upload = Annotated[UploadFile, File()]


@router.get("/v1/audio/voices")
async def voices(who: Who, service: Svc) -> dict[str, Any]:
    """The voices that this key may use."""
    return {"object": "list", "data": await aside(service.voices.cards, who)}


@router.get("/v1/audio/voices/{name}")
async def voice(name: str, who: Who, service: Svc) -> dict[str, Any]:
    """One voice's card."""
    return await aside(service.voices.card, who, name)


@router.post("/v1/audio/voices", status_code=201)
async def make(
    who: Who,
    service: Svc,
    name: Text,
    audio_sample: Annotated[UploadFile | None, File()] = None,
    audio_url: Text = "",
    transcript: Text = "",
    speaker: Text = "",
    consent_number: Text = "",
    consent_recording: Annotated[UploadFile | None, File()] = None,
    purposes: Text = "personal",
    languages: Text = "en,zh",
) -> dict[str, Any]:
    """Make a voice of 3-30 s of one speaker: sent, or at an address of a place that the owner lists."""
    check_name(name)
    if (audio_sample is None) == (not audio_url):
        raise Problem("invalid", "audio_sample: send a recording (or its audio_url, not both)")
    service.count_heavy(who)
    if audio_sample is not None:
        sample = await audio_sample.read()
    else:
        sample = await aside(_fetched, service, who, audio_url)
    read = b"" if consent_recording is None else await consent_recording.read()
    grant = _Grant(speaker, consent_number, read, purposes.split(","), languages.split(","))
    task = service.scheduler.reserve(who.actor)
    return await _run(task, _make(service, who, name, sample, transcript, grant))


@router.delete("/v1/audio/voices/{name}", status_code=204)
async def delete(name: str, who: Who, service: Svc) -> Response:
    """Forget a voice."""

    def forget() -> None:
        with allowed(who, "clone"):
            service.voices.delete(who, name)

    await aside(forget)
    return Response(status_code=204)


@router.post("/v1/audio/conversions", responses=SOUND, response_class=Response)
async def convert(
    request: Request,
    who: Who,
    service: Svc,
    voice: Text,
    audio: Upload,
    model: Text = "",
    response_format: Text = "mp3",
    seed: Annotated[int | None, Form(ge=0, lt=2**63)] = None,
) -> Response:
    """Say a recording again in another voice."""
    check_format(response_format)
    service.count_heavy(who)
    name, data = service.model_name(model), await audio.read()
    task = service.scheduler.reserve(who.actor)
    made = await _run(task, _convert(service, who, voice, data, name, seed))
    encoder = encoder_for(response_format, made.sample_rate)
    sound = encoder.feed(made.audio) + encoder.finish()
    service.metrics.audio.inc(made.seconds)
    return Response(sound, media_type=TYPES[response_format])


class _Grant:
    """The consent that came with a recording, if any."""

    def __init__(
        self, speaker: str, number: str, read: bytes, purposes: list[str], languages: list[str]
    ) -> None:
        self.speaker, self.number, self.read = speaker, number, read
        self.purposes, self.languages = purposes, languages


def _fetched(service: Service, who: Caller, address: str) -> bytes:
    with allowed(who, "clone"):
        return fetched(address, service.settings.fetch, service.settings.most_upload)


async def _run(task: Task, steps: Iterator[Any]) -> Any:
    return await task.submit(steps).only()


def _make(
    service: Service, who: Caller, name: str, sample: bytes, transcript: str, grant: _Grant
) -> Iterator[dict[str, Any]]:
    most = service.settings.most_decoded
    models = service.bundle(None)
    with allowed(who, "clone"), kept(sample, most) as path:
        voice = Voice.from_file(path, transcript or None, name=name, model=models)
        given = None
        if grant.number:
            with kept(grant.read, most, "consent recording") as second:
                asked = reading.find(grant.number)
                checks = reading.check(
                    asked, second, path, model=models, recogniser=reading.recogniser()
                )
                service.voices.add(who, voice)
                given = consent.give(
                    voice, grant.speaker, kind="read-aloud", recording=second, read=asked.sentence,
                    number=asked.number, purposes=grant.purposes, languages=grant.languages,
                    agreement_language=asked.language, checks=checks, actor=who.actor,
                )  # fmt: skip
        else:
            service.voices.add(who, voice)
    card = service.voices.card(who, name)
    yield card | ({} if given is None else {"consent_id": given.id})


def _convert(
    service: Service, who: Caller, name: str, data: bytes, model: str, seed: int | None
) -> Iterator[Any]:
    with allowed(who, "convert"), kept(data, service.settings.most_decoded) as path:
        voice = service.voices.find(who, name)
        if service.settings.consent == "required":
            purpose = who.purpose or policies.load().purpose
            need_consent(voice, consent.Wanted(purpose, gate.languages_of("")))
        yield engine.tts.convert(path, voice, model=service.models[model], seed=seed)
