"""The endpoints of GPT-SoVITS' api_v2, for tools that speak its language: a switchable layer.

Where the original takes paths on the server, this takes registered names (or their aliases); what a
key sets with /set_refer_audio or the weights' endpoints holds for that key alone. /control does not
exist. What has no meaning here is accepted and has no effect; docs/serving.md lists it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from ..trust.access import Caller
from .auth import Who
from .errors import Problem, body, problem_of
from .routes_openai import SOUND, Speaking, Svc
from .speech import Wanted, respond
from .state import Service, aside

router = APIRouter(tags=["api_v2"])
NARROWER = {"all_zh": "zh"}  # for a model without the original's modes
Name = Annotated[str, Field(max_length=1000)]


class TtsBody(BaseModel):
    """The original's parameters."""

    model_config = ConfigDict(extra="ignore")  # tools send what their version knows
    text: str = ""
    text_lang: Name = "auto"
    ref_audio_path: Name = ""
    aux_ref_audio_paths: list[Name] | None = None
    prompt_text: str | None = ""
    prompt_lang: Name | None = ""
    top_k: int = Field(default=15, ge=1, le=1024)
    top_p: float = Field(default=1.0, gt=0, le=1)
    temperature: float | None = Field(default=None, ge=0, le=2)  # None: the model's own
    text_split_method: Name = "cut5"
    batch_size: int = 1
    batch_threshold: float = 0.75
    split_bucket: bool = True
    speed_factor: float = Field(default=1.0, ge=0.25, le=4.0)
    fragment_interval: float = Field(default=0.3, ge=0, le=10)
    seed: int = Field(default=-1, lt=2**63)
    media_type: Literal["wav", "raw", "ogg", "aac", "mp3", "flac"] = "wav"
    streaming_mode: bool | int = False
    parallel_infer: bool = True
    repetition_penalty: float | None = Field(default=None, ge=1, le=10)
    sample_steps: int = 32
    super_sampling: bool = False


@router.post("/tts", responses=SOUND, response_class=Response)
async def tts_post(body: TtsBody, request: Request, who: Who, service: Svc) -> Response:
    """Say a text, as api_v2 does."""
    return await _say(service, request, who, body)


@router.get("/tts", responses=SOUND, response_class=Response)
async def tts_get(
    query: Annotated[TtsBody, Query()], request: Request, who: Who, service: Svc
) -> Response:
    """The same by a query."""
    return await _say(service, request, who, query)


@router.get("/set_refer_audio")
async def set_refer_audio(
    who: Who, service: Svc, refer_audio_path: Annotated[Name, Query()] = ""
) -> Response:
    """Choose the voice that /tts uses when it is given none."""
    return await _choose(service, who, "voice", refer_audio_path)


@router.get("/set_gpt_weights")
async def set_gpt_weights(
    who: Who, service: Svc, weights_path: Annotated[Name, Query()] = ""
) -> Response:
    """Choose the model; a registered model holds both halves."""
    return await _choose(service, who, "model", weights_path)


@router.get("/set_sovits_weights")
async def set_sovits_weights(
    who: Who, service: Svc, weights_path: Annotated[Name, Query()] = ""
) -> Response:
    """Choose the model; a registered model holds both halves."""
    return await _choose(service, who, "model", weights_path)


async def _choose(service: Service, who: Caller, what: str, name: str) -> Response:
    try:
        who.need("speak")
        if not name:
            raise Problem("bad-request", "a name is required")
        if what == "voice":
            name = (await aside(service.voices.find, who, name)).name
        else:
            name = service.model_name(name)
    except ValueError as error:
        return _failed(error, "change failed")
    service.chosen(who)[what] = name
    return JSONResponse({"message": "success"})


async def _say(service: Service, request: Request, who: Caller, asked: TtsBody) -> Response:
    try:
        return await respond(service, request, who, _wanted(service, who, asked))
    except ValueError as error:
        return _failed(error, "tts failed")


def _wanted(service: Service, who: Caller, asked: TtsBody) -> Wanted:
    chosen = service.chosen(who)
    voice = asked.ref_audio_path or chosen.get("voice", "")
    if not voice:
        raise Problem("bad-request", "ref_audio_path is required: a registered voice's name")
    if asked.aux_ref_audio_paths:
        raise Problem("unsupported", "aux_ref_audio_paths: a voice has one timbre here")
    speaking = Speaking(
        language=_language(service, asked.text_lang, chosen.get("model")),  # type: ignore[arg-type]
        speed=asked.speed_factor,
        seed=None if asked.seed < 0 else asked.seed,
        temperature=asked.temperature,
        top_k=asked.top_k,
        top_p=asked.top_p,
        repetition_penalty=asked.repetition_penalty,
        pause_ms=round(1000 * asked.fragment_interval),
    )
    options = speaking.options()
    if asked.streaming_mode == 1:  # sentence by sentence; 2 and 3 also cut sentences
        options["stream"] = "equal"
    whole = not asked.streaming_mode
    return Wanted(asked.text, voice, chosen.get("model"), asked.media_type, False, whole, options)


def _language(service: Service, asked: str, model: str | None) -> str:
    """The original's name of a language, as the model knows it."""
    name, known = asked.lower() or "auto", service.bundle(model).languages
    name = name if name in known else NARROWER.get(name, name)
    if name not in known:
        raise Problem("language-unsupported", f"text_lang: {', '.join(known)}")
    return name


def _failed(error: ValueError, message: str) -> Response:
    """The original's body, with ours beside it."""
    told = problem_of(error)
    status = 400 if told.status in (404, 422) else told.status
    shown: dict[str, Any] = {"message": message, "Exception": told.message, **body(told)}
    headers = {"X-Voxray-Error": told.code}
    if told.retry_after is not None:
        headers["Retry-After"] = str(told.retry_after)
    return JSONResponse(shown, status, headers)
