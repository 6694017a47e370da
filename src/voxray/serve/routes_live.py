"""Text in, speech out, both as they come: WebSocket /v1/audio/speech/live.

in:  {"type": "start", "voice": …, "format": "pcm", …}, then {"type": "text", "text": …} any number
     of times, {"type": "flush"} to say what is held back, {"type": "cancel"}, {"type": "end"}
out: {"type": "started", "sample_rate"}, binary sound, {"type": "said", "text", "words", "record"}
     after each stretch, {"type": "done"}, or {"type": "error", "error": {"code", "message"}}

Text is said sentence by sentence, as soon as one is complete.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from typing import Annotated, Any, Literal

from fastapi import APIRouter, WebSocket
from pydantic import Field, ValidationError
from starlette.websockets import WebSocketDisconnect

from ..trust.access import Caller
from .auth import caller_of
from .encoding import check_format, encoder_for
from .errors import Problem, body, problem_of
from .routes_openai import Speaking
from .speech import Speech, Wanted, begin
from .state import Service, service_of

router = APIRouter()
SENTENCE = re.compile(r".*?(?:[.!?](?=\s)|[。！？\n])", re.DOTALL)
FORMATS = ("pcm", "wav", "mp3", "opus")
MOST_HELD = 5_000  # characters without an end
POLICY, GOING = 1008, 1000


class Start(Speaking):
    """The first message."""

    type: Literal["start"]
    voice: Annotated[str, Field(max_length=200)] | None = None
    model: Annotated[str, Field(max_length=200)] = ""
    format: Literal["pcm", "wav", "mp3", "opus"] = "pcm"


@router.websocket("/v1/audio/speech/live")
async def live(socket: WebSocket) -> None:
    """One conversation."""
    service = service_of(socket)
    await socket.accept()
    service.metrics.live.inc()
    try:
        who = await caller_of(socket)
        await _Conversation(service, who, socket).run()
        await socket.close(GOING)
    except WebSocketDisconnect:
        pass
    except Exception as error:  # noqa: BLE001 - told to the client, logged by problem_of
        with suppress(WebSocketDisconnect, RuntimeError):
            await socket.send_json({"type": "error", **body(problem_of(error))})
            await socket.close(POLICY)
    finally:
        service.metrics.live.dec()


class _Conversation:
    def __init__(self, service: Service, who: Caller, socket: WebSocket) -> None:
        self.service, self.who, self.socket = service, who, socket
        self.held = ""
        self.texts: asyncio.Queue[str | None] = asyncio.Queue(64)
        self.speech: Speech | None = None

    async def run(self) -> None:
        """Listen and speak at once, until one of the two is over."""
        start = _start(await self._message())
        speaking = asyncio.create_task(self._speak(start))
        listening = asyncio.create_task(self._listen())
        try:
            await asyncio.wait({speaking, listening}, return_when=asyncio.FIRST_COMPLETED)
            if listening.done() and listening.exception() is None:
                await speaking  # the client has said all; what is left is spoken
            for task in (speaking, listening):
                if task.done():
                    task.result()
        finally:
            for task in (speaking, listening):
                task.cancel()
            self._stop()

    async def _message(self) -> dict[str, Any]:
        text = await asyncio.wait_for(self.socket.receive_text(), 600.0)
        if len(text) > self.service.settings.most_json:
            raise Problem("body-too-large", "the message is too large")
        try:
            message = json.loads(text)
        except ValueError as error:
            raise Problem("invalid", "a message is one JSON object") from error
        if not isinstance(message, dict):
            raise Problem("invalid", "a message is one JSON object")
        return message

    async def _listen(self) -> None:
        while True:
            message = await self._message()
            kind = message.get("type")
            if kind == "text" and isinstance(message.get("text"), str):
                self.held += message["text"]
                await self._cut()
            elif kind in ("flush", "end"):
                await self._put(self.held)
                self.held = ""
            elif kind == "cancel":
                self._forget()
            else:
                raise Problem("invalid", "type: text, flush, cancel or end")
            if kind == "end":
                await self.texts.put(None)
                return

    async def _cut(self) -> None:
        """Pass on every sentence that is complete."""
        while found := SENTENCE.match(self.held):
            self.held = self.held[found.end() :]
            await self._put(found.group())
        if len(self.held) > MOST_HELD:
            raise Problem("text-too-long", f"{MOST_HELD} characters without the end of a sentence")

    async def _put(self, text: str) -> None:
        if text.strip():
            await self.texts.put(text.strip())

    def _forget(self) -> None:
        """Say nothing of what was sent so far."""
        self.held = ""
        while not self.texts.empty():
            self.texts.get_nowait()
        self._stop()

    def _stop(self) -> None:
        if self.speech is not None:
            self.speech.task.cancel()

    async def _speak(self, start: Start) -> None:
        encoder = None
        while (text := await self.texts.get()) is not None:
            wanted = Wanted(text, start.voice, start.model, start.format, options=start.options())
            self.speech = await begin(self.service, self.who, wanted)
            rate = self.speech.stream.sample_rate
            if encoder is None:
                encoder = encoder_for(start.format, rate)
                await self.socket.send_json(
                    {"type": "started", "sample_rate": rate, "format": start.format}
                )
            async for chunk in self.speech.task:
                await self._send(encoder.feed(chunk))
            await self.socket.send_json({"type": "said", **_said(self.speech)})
            self.speech = None
        if encoder is not None:
            await self._send(encoder.finish())
        await self.socket.send_json({"type": "done"})

    async def _send(self, data: bytes) -> None:
        if data:
            await self.socket.send_bytes(data)


def _start(message: dict[str, Any]) -> Start:
    try:
        start = Start.model_validate(message)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Problem("invalid", f"start: {where}: {first['msg']}") from error
    check_format(start.format)
    return start


def _said(speech: Speech) -> dict[str, Any]:
    made = speech.stream.synthesis
    words = made.report()["words"]
    return {
        "text": made.text,
        "seconds": round(made.seconds, 3),
        "words": words,
        "record": made.record,
    }
