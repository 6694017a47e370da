"""A request for speech on its way: checked, queued, made in slices, encoded, sent.

`begin` reserves a place, has the gate decide, and lets the scheduler work: its tokens are made in one
pass with those of the others (`voxray.token_pool`), its sound in its own turns. `respond` waits for
the first sound before it answers, so that every refusal is a clean 4xx, then streams. A client that
leaves ends its speech at its next turn; the record then says how much was said.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from .. import engine
from ..engine import Stream, tts
from ..trust import access, gate
from ..trust import policy as policies
from ..trust.access import Caller
from ..trust.consent import Wanted as WantedUse
from .encoding import TYPES, Encoder, Wave, check_format, encoder_for
from .errors import Problem, body, problem_of
from .scheduler import TURN, Task
from .state import Service, aside
from .voices import need_consent

SAVED = {"wav": ".wav", "mp3": ".mp3", "flac": ".flac", "ogg": ".ogg"}
CHARACTERS_PER_TOKEN = 4  # for the usage figures that OpenAI's clients expect
GONE = 499


@dataclass(frozen=True)
class Wanted:
    """What is asked for."""

    text: str
    voice: str | None = None
    model: str | None = None
    format: str = "mp3"
    sse: bool = False
    whole: bool = False  # made before it is sent: a complete header, a length, credentials
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Speech:
    """Speech under way."""

    task: Task
    stream: Stream
    model: str
    since: float = field(default_factory=time.monotonic)


async def begin(service: Service, who: Caller, wanted: Wanted) -> Speech:
    """Queue a request, or refuse it."""
    check_format(wanted.format)
    _check_text(service, wanted.text)
    model = service.model_name(wanted.model)
    await aside(_check_language, service, model, wanted.options.get("language", "auto"))
    rate = 0

    def seconds(item: Any) -> float:
        return len(item) / rate if isinstance(item, np.ndarray) and rate else 0.0

    task = service.scheduler.reserve(who.actor, seconds)
    try:
        stream = await aside(open_stream, service, who, wanted, model)
        rate = stream.sample_rate
        whole = wanted.whole and wanted.format in SAVED
        task.submit(saved(stream, wanted.format) if whole else chunks(stream))
    except BaseException:
        task.cancel()
        raise
    service.metrics.characters.inc(len(wanted.text))
    return Speech(task, stream, model)


def open_stream(service: Service, who: Caller, wanted: Wanted, model: str) -> Stream:
    """Past the gate: from here on there is a record."""
    with access.calling(who):
        voice = service.voices.find(who, wanted.voice or engine.default_voice(wanted.text))
        if service.settings.consent == "required":
            purpose = who.purpose or policies.load().purpose
            need_consent(voice, WantedUse(purpose, gate.languages_of(wanted.text)))
        options, models = wanted.options, service.models[model]
        if wanted.whole and service.bundle(model).windowed:
            options = {**options, "stream": "equal"}  # nobody listens before it ends
        return tts.stream(wanted.text, voice, model=models, shared=True, **options)


def chunks(stream: Stream) -> Iterator[Any]:
    """The stream, and `TURN` where its tokens are being made; closed whatever happens."""
    try:
        for chunk in stream:
            yield chunk if len(chunk) else TURN
    finally:
        with suppress(ValueError, OSError):  # a refusal that ended it is on record already
            stream.close()


def saved(stream: Stream, name: str) -> Iterator[Any]:
    """The stream in turns whose sound is kept, then the file as the engine writes it."""
    yield from (TURN for _ in chunks(stream))
    with TemporaryDirectory(prefix="voxray-") as folder:
        path = Path(folder) / f"speech{SAVED[name]}"
        engine.save(stream.synthesis, path)
        yield path.read_bytes()


async def respond(service: Service, request: Request, who: Caller, wanted: Wanted) -> Response:
    """The response to a request for speech."""
    speech = await begin(service, who, wanted)
    watcher = asyncio.create_task(_watch(service, request, speech.task))
    try:
        first = await _first(speech.task)
        if first is None:
            return Response(status_code=GONE)
        service.metrics.first_audio.observe(time.monotonic() - speech.since)
        headers = _headers(speech)
        if isinstance(first, bytes):
            watcher.cancel()
            _book(service, speech)
            return Response(first, media_type=TYPES[wanted.format], headers=headers)
    except BaseException:
        watcher.cancel()
        speech.task.cancel()
        raise
    encoder = encoder_for(wanted.format, speech.stream.sample_rate)
    sending = _send(service, speech, first, encoder, watcher)
    if wanted.sse:
        return StreamingResponse(
            _events(sending, speech, wanted), media_type="text/event-stream", headers=headers
        )
    return StreamingResponse(sending, media_type=TYPES[wanted.format], headers=headers)


async def _first(task: Task) -> Wave | bytes | None:
    """The first sound (or the whole file); None if the client has left."""
    async for item in task:
        if len(item):
            return item
    return None


async def _send(
    service: Service, speech: Speech, first: Wave, encoder: Encoder, watcher: asyncio.Task[None]
) -> AsyncIterator[bytes]:
    try:
        yield encoder.feed(first)
        async for chunk in speech.task:
            data = encoder.feed(chunk)
            if data:
                yield data
        yield encoder.finish()
    finally:
        watcher.cancel()
        speech.task.cancel()
        _book(service, speech)


async def _events(
    sending: AsyncIterator[bytes], speech: Speech, wanted: Wanted
) -> AsyncIterator[str]:
    """Server-sent events in OpenAI's words; a failure on the way is the last event."""
    try:
        async for data in sending:
            if data:
                yield event(
                    {"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()}
                )
    except Exception as error:  # noqa: BLE001 - told to the client in the stream it reads
        yield event({"type": "error", **body(problem_of(error))})
        return
    put_in = -(-len(wanted.text) // CHARACTERS_PER_TOKEN)
    put_out = len(speech.stream.synthesis.tokens)
    usage = {"input_tokens": put_in, "output_tokens": put_out, "total_tokens": put_in + put_out}
    yield event({"type": "speech.audio.done", "usage": usage})


def event(data: dict[str, Any]) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


async def _watch(service: Service, request: Request, task: Task) -> None:
    """Until the client leaves."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    service.metrics.left.inc()
    task.cancel()


def _headers(speech: Speech) -> dict[str, str]:
    return {
        "X-Voxray-Seed": str(speech.stream.seed),
        "X-Voxray-Model": speech.model,
        "X-Voxray-Sample-Rate": str(speech.stream.sample_rate),
    }


def _book(service: Service, speech: Speech) -> None:
    service.metrics.audio.inc(speech.stream.synthesis.seconds)


def _check_text(service: Service, text: str) -> None:
    if not text.strip():
        raise Problem("text-empty", "the text is empty")
    if len(text) > service.settings.most_characters:
        raise Problem(
            "text-too-long",
            f"the text has {len(text)} characters; "
            f"{service.settings.most_characters} are allowed in one request",
        )


def _check_language(service: Service, model: str, language: str) -> None:
    known = service.bundle(model).languages
    if language not in known:
        raise Problem("language-unsupported", f"the model {model!r} speaks {', '.join(known)}")
