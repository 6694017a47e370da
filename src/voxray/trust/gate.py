"""Trust at the engine's gate: `stand()` puts its hooks there; the engine calls it before it speaks.

before: policy, caller's key, consent -> a record is begun, or nothing is said.
chunk:  marks a stream; before each chunk the consent is looked at again.
after:  marks what was made whole, looks at the consent again, finishes the record.
saved:  signs Content Credentials into the file, where the policy and the format have them.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from .. import engine
from ..engine import Request
from ..notes import Note
from ..synthesis import Synthesis
from . import access, audit, consent, credentials, identity, records, store
from . import policy as policies
from .consent import Content, Wanted
from .errors import Refused
from .tables import ConsentRow
from .watermark import public
from .watermark.embed import Embedder, embed
from .watermark.grid import STRENGTH_DB
from .watermark.pattern import pattern

Wave = NDArray[np.float32]
MOST_RUNNING = 10_000  # requests that were begun and not finished; the oldest is forgotten


@dataclass(frozen=True)
class Running:
    """A request between `before` and `after`."""

    number: int
    voice: str
    consent: str
    wanted: Wanted
    actor: str
    signs: NDArray[np.int8] | None  # [slots, bands]; None: the owner's policy is not to mark
    public: bool = False  # Perth's mark, too
    notice: str = ""


_running: dict[str, Running] = {}
_lock = Lock()
_remove: Callable[[], None] | None = None


def stand() -> None:
    """Put trust at the gate, once; what stands there already stays in front of it."""
    global _remove
    with _lock:
        if not any(hook.before is before for hook in engine.hooks()):
            _remove = engine.register(before=before, after=after, chunk=chunk, saved=saved)


def before(request: Request) -> None:
    """Refuse, or begin a record."""
    policy = policies.load()
    if policy.public_mark == "perth":
        public.check()
    who = access.caller()
    who.need("speak" if not request.source else "convert")
    who.need_voice(request.voice.name)
    wanted = Wanted(_purpose(who, policy.purpose), languages_of(request.text))
    voice = consent.voice_id(request.voice)
    try:
        with store.writing() as session:
            access.spend(session, who, len(request.text))
            allowed, notice = _allowed(session, request, voice, wanted, policy)
            row = records.begin(
                session,
                who.actor,
                request.text,
                voice=voice,
                voice_name=request.voice.name,
                model=request.voice.model,
                consent=allowed,
                key=who.id,
                seed=request.options.seed or 0,
            )
            number = row.number
    except Refused as refusal:
        _record_refusal(who.actor, voice, refusal)
        raise
    signs = pattern(identity.mark_key()).carrying(number) if policy.watermark else None
    with _lock:
        while len(_running) >= MOST_RUNNING:
            _running.pop(next(iter(_running)))
        _running[request.id] = Running(
            number, voice, allowed, wanted, who.actor, signs, policy.public_mark == "perth", notice
        )


def after(synthesis: Synthesis, request: Request) -> Synthesis:
    """Mark what was made whole, and finish the record; a stream was marked on its way."""
    running = _of(request, take=True)
    made = synthesis.audio
    if not request.streamed:
        made = _marked(made, synthesis.sample_rate, running)
    _still_allowed(running)
    with store.writing() as session:
        records.finish(session, running.actor, running.number, made, synthesis.sample_rate)
    warnings = [*synthesis.warnings, *([running.notice] if running.notice else [])]
    return replace(synthesis, audio=made, warnings=warnings, record=f"r-{running.number:08x}")


class StreamMark:
    """Marks the chunks of one stream; refuses to go on when the consent has ended.

    The public mark is made on whole sounds: with it all is held back until `finish`.
    """

    def __init__(self, running: Running, rate: int) -> None:
        self._running, self._rate = running, rate
        self._embedder = None if running.signs is None else Embedder(running.signs, rate)
        self._held = [np.zeros(0, np.float32)]

    def __call__(self, chunk: Wave) -> Wave:
        """Take a chunk in, get what is finished."""
        _still_allowed(self._running)
        if self._running.public:
            self._held.append(chunk)
            return self._held[0]
        return chunk if self._embedder is None else self._embedder(chunk)

    def finish(self) -> Wave:
        """The last samples."""
        if self._running.public:
            return _marked(np.concatenate(self._held), self._rate, self._running)
        return np.zeros(0, np.float32) if self._embedder is None else self._embedder.finish()


def _marked(wave: Wave, rate: int, running: Running) -> Wave:
    """A whole sound with its marks; ours last, so that nothing disturbs it."""
    wave = public.mark(wave, rate) if running.public else wave
    return wave if running.signs is None else embed(wave, rate, running.signs, STRENGTH_DB)


def chunk(request: Request) -> StreamMark:
    """The marker of a stream."""
    return StreamMark(_of(request, take=False), request.rate)


def saved(synthesis: Synthesis, path: Path) -> None:
    """Content Credentials for a file that was just written."""
    policy = policies.load()
    if policy.credentials == "off" or not synthesis.record:
        return
    if not credentials.installed():
        if policy.credentials == "on":
            path.unlink(missing_ok=True)
            raise Refused(
                "credentials-broken",
                "the policy asks for credentials: pip install voxray[provenance]",
            )
        return
    if path.suffix.lower() in credentials.FORMATS:
        item = records.find(int(synthesis.record.removeprefix("r-"), 16))
        details = {} if item is None else {"voice": item.voice, "consent": item.consent}
        credentials.attach(path, synthesis, details)


def languages_of(text: str) -> frozenset[str]:
    """By script: `zh` for Han characters, `en` for Latin letters."""
    found = set()
    if any("\u3400" <= character <= "\u9fff" for character in text):
        found.add("zh")
    if any(character.isascii() and character.isalpha() for character in text):
        found.add("en")
    return frozenset(found)


def _purpose(who: access.Caller, of_policy: str) -> str:
    return who.purpose or of_policy


def _allowed(
    session: Session, request: Request, voice: str, wanted: Wanted, policy: policies.Policy
) -> tuple[str, str]:
    """Id of the consent (empty for built-in voices) and what the user is to be told."""
    found = consent.check(session, voice, wanted)
    if found is None and consent.is_builtin(request.voice):
        return "", ""
    if found is not None and not (policy.consent == "required" and found.kind == "implied"):
        return found.id, ""
    if policy.consent == "required":
        raise Refused(
            "consent-missing",
            f"no consent record for the voice {request.voice.name!r}; "
            "give one: voxray voice make NAME RECORDING --consent READING",
        )
    content = _implied(request, voice)
    consent.put(session, content, access.caller().actor)
    return content.id, Note.of("implied", voice=repr(request.voice.name), id=content.id)


def _implied(request: Request, voice: str) -> Content:
    """On one's own machine, using a voice says that one may."""
    return Content(
        id=f"c-{secrets.token_hex(8)}",
        kind="implied",
        voice=voice,
        voice_name=request.voice.name,
        who="unknown",
        purposes=consent.PURPOSES,
        languages=("en", "zh"),
        issued=time.time(),
        expires=None,
    )


def _still_allowed(running: Running) -> None:
    """The consent, read again; a refusal is on record and ends the speech."""
    if not running.consent:
        return
    try:
        with store.reading() as session:
            row = session.get(ConsentRow, running.consent)
            if row is None:
                raise Refused("consent-missing", f"consent {running.consent} is gone")
            consent.examine(row, running.voice, running.wanted)
    except Refused as refusal:
        with store.writing() as session:
            records.refuse(session, running.actor, running.number, refusal.code)
        raise


def _record_refusal(actor: str, voice: str, refusal: Refused) -> None:
    """A refusal is on record, too, where records can be written at all."""
    if refusal.code == "records-unavailable":
        return
    with store.writing() as session:
        audit.append(session, actor, "refused", voice, {"code": refusal.code})


def _of(request: Request, *, take: bool) -> Running:
    with _lock:
        running = _running.pop(request.id, None) if take else _running.get(request.id)
    if running is None:
        raise Refused("records-unavailable", "this request has no record; nothing is said")
    return running
