"""OpenAI's endpoints: POST /v1/audio/speech, GET /v1/models. `voice` and `model` are registered names.

Beyond OpenAI's fields: language, seed, temperature, top_k, top_p, repetition_penalty, pause_ms, and
`whole` (made before it is sent: complete header, Content-Length, Content Credentials).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from .auth import Who
from .encoding import TYPES
from .errors import Problem
from .speech import Wanted, respond
from .state import Service, service_of

router = APIRouter(tags=["speech"])
CREATED = 1_764_028_800  # of the first release's models; clients want a time here
Svc = Annotated[Service, Depends(service_of)]
Language = Literal[
    "auto", "auto_yue", "en", "zh", "ja", "ko", "yue", "all_zh", "all_ja", "all_ko", "all_yue"
]
SOUND: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {} for kind in sorted({*TYPES.values(), "text/event-stream"})}}
}


class VoiceName(BaseModel):
    """OpenAI's way to name a voice of one's own."""

    model_config = ConfigDict(extra="forbid")
    id: str = Field(max_length=200)


class Speaking(BaseModel):
    """What can be chosen for speech, by any endpoint."""

    model_config = ConfigDict(extra="forbid")
    language: Language = "auto"  # a published model knows all, the built-in one auto, en and zh
    speed: float = Field(default=1.0, ge=0.25, le=4.0)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_k: int = Field(default=15, ge=1, le=1024)
    top_p: float = Field(default=1.0, gt=0, le=1)
    repetition_penalty: float | None = Field(default=None, ge=1, le=10)
    pause_ms: int = Field(default=280, ge=0, le=10_000)

    def options(self) -> dict[str, Any]:
        """For the engine."""
        chosen = self.model_dump(include=set(Speaking.model_fields))
        for name in ("temperature", "repetition_penalty"):  # None: the model's own
            if chosen[name] is None:
                del chosen[name]
        return chosen


class SpeechBody(Speaking):
    """OpenAI's request, and our additions."""

    model: str = Field(default="", max_length=200)
    input: str
    voice: str | VoiceName | None = None
    response_format: str = Field(default="mp3", max_length=40)
    stream_format: Literal["audio", "sse"] = "audio"
    instructions: str = Field(default="", max_length=4096)
    whole: bool = False


@router.post("/v1/audio/speech", responses=SOUND, response_class=Response)
async def speech(body: SpeechBody, request: Request, who: Who, service: Svc) -> Response:
    """Say a text."""
    if body.instructions.strip():
        raise Problem(
            "unsupported", "instructions cannot be followed by this model; leave them out"
        )
    voice = body.voice.id if isinstance(body.voice, VoiceName) else body.voice
    wanted = Wanted(
        body.input, voice, body.model, body.response_format,
        body.stream_format == "sse", body.whole and body.stream_format == "audio", body.options(),
    )  # fmt: skip
    return await respond(service, request, who, wanted)


@router.get("/v1/models")
async def models(who: Who, service: Svc) -> dict[str, Any]:
    """The registered models."""
    return {"object": "list", "data": [_model(name) for name in service.models]}


@router.get("/v1/models/{name}")
async def model(name: str, who: Who, service: Svc) -> dict[str, Any]:
    """One model."""
    return _model(service.model_name(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "voxray"}
