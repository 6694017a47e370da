"""Consent records: who allowed what to be said in which voice, signed, until when.

`give` signs and stores a record, `check` finds the one that allows a request or refuses with the
reason, `revoke` ends it at once: `check` reads the database for every request and every chunk.
The signed `content` binds the voice (hash of its speaker vector and of what is remembered of its
reference), the recording's hash, the agreement's text and the number that was read aloud; a copy for
another voice, a changed date or a number used twice is refused. Times are UTC seconds.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from ..config import Config
from ..voice import Voice, builtin_names
from . import agreement, audit, identity, store
from .errors import Refused
from .tables import ConsentRow, PromptRow

PURPOSES = ("personal", "research", "commercial")
KINDS = ("implied", "attested", "read-aloud")
YEAR = 365 * 86_400.0


class Content(Config):
    """What is signed."""

    version: int = 1
    id: str
    kind: str
    voice: str  # `voice_id`
    voice_name: str
    who: str  # an opaque id
    read: str = ""  # the text they read aloud
    number: str | None = None  # the fresh number in it
    purposes: tuple[str, ...]
    languages: tuple[str, ...]
    issued: float
    expires: float | None
    audio_hash: str = ""
    agreement: str = ""  # its whole text
    checks: dict[str, str | float] = {}

    def signable(self) -> str:
        """One spelling for one content."""
        return json.dumps(self.model_dump(), ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True)
class Wanted:
    """What is about to be done with a voice."""

    purpose: str
    languages: frozenset[str]


def voice_id(voice: Voice) -> str:
    """A voice is its speaker vector and what is remembered of it, whatever it is called."""
    parts = [
        voice.speaker, voice.memory_tokens, voice.memory_latents, voice.memory_correction,
    ]  # fmt: skip
    known = b"".join(p.detach().half().cpu().numpy().tobytes() for p in parts if p is not None)
    return hashlib.sha256(known).hexdigest()[:32]


def is_builtin(voice: Voice) -> bool:
    """Whether it is one of the voices that come with voxray: nobody's, so nobody is asked."""
    return voice.name in builtin_names() and voice_id(Voice.builtin(voice.name)) == voice_id(voice)


def give(
    voice: Voice,
    who: str,
    *,
    purposes: Sequence[str] = ("personal",),
    languages: Sequence[str] = ("en", "zh"),
    expires: float | None = None,
    kind: str = "attested",
    recording: str | Path | None = None,
    read: str = "",
    number: str | None = None,
    agreement_language: str = "en",
    checks: dict[str, str | float] | None = None,
    actor: str = "owner",
) -> Content:
    """Sign and store a consent."""
    _check_scope(who, purposes, languages, expires, kind)
    text = agreement.written(agreement_language, who, purposes, languages, expires)
    content = Content(
        id=f"c-{secrets.token_hex(8)}",
        kind=kind,
        voice=voice_id(voice),
        voice_name=voice.name,
        who=who,
        read=read,
        number=number,
        purposes=tuple(purposes),
        languages=tuple(languages),
        issued=time.time(),
        expires=expires,
        audio_hash="" if recording is None else file_hash(recording),
        agreement=text,
        checks=checks or {},
    )
    with store.writing() as session:
        put(session, content, actor)
    return content


def put(session: Session, content: Content, actor: str) -> None:
    """Sign and store, within a transaction; a number that was read before is refused."""
    if content.number is not None:
        prompt = session.get(PromptRow, content.number)
        if prompt is None or prompt.used is not None:
            raise Refused(
                "consent-replayed",
                f"the number {content.number} was never handed out, or was read before; "
                "ask for a fresh one: voxray trust prompt",
            )
        prompt.used = time.time()
    signed = content.signable()
    session.add(
        ConsentRow(
            id=content.id, voice=content.voice, kind=content.kind, content=signed,
            key=identity.public_key(), signature=identity.sign(signed.encode()),
            number=content.number, revoked=None, reason="",
        )
    )  # fmt: skip
    session.flush()
    details = {"kind": content.kind, "who": content.who, "voice": content.voice}
    audit.append(session, actor, "consent-given", content.id, details)


def check(session: Session, voice: str, wanted: Wanted) -> Content | None:
    """The consent that allows what is wanted; None if there never was one; else a refusal."""
    rows = list(session.scalars(select(ConsentRow).where(ConsentRow.voice == voice)))
    explicit = [row for row in rows if row.kind != "implied"]  # what was said outweighs silence
    rows, refusals = explicit or rows, []
    for row in sorted(rows, key=lambda row: KINDS.index(row.kind), reverse=True):
        try:
            return examine(row, voice, wanted)
        except Refused as refusal:
            refusals.append(refusal)
    if refusals:
        raise refusals[0]
    return None


def examine(row: ConsentRow, voice: str, wanted: Wanted) -> Content:
    """The content of one record, if it is genuine, in force, and allows what is wanted."""
    content = genuine(row, voice)
    if row.revoked is not None:
        raise Refused("consent-revoked", f"consent {row.id} was revoked on {day(row.revoked)}")
    if content.expires is not None and time.time() >= content.expires:
        raise Refused("consent-expired", f"consent {row.id} ended on {day(content.expires)}")
    if wanted.purpose not in content.purposes:
        allowed = ", ".join(content.purposes)
        raise Refused("consent-scope", f"consent {row.id} is for {allowed}, not {wanted.purpose}")
    foreign = wanted.languages - set(content.languages)
    if foreign:
        raise Refused(
            "consent-scope",
            f"consent {row.id} is for {', '.join(content.languages)}, not {', '.join(sorted(foreign))}",
        )
    return content


def genuine(row: ConsentRow, voice: str) -> Content:
    """The content of a record as it was signed here, for this voice."""
    forged = Refused("consent-forged", f"consent {row.id} was altered, or not signed here")
    if not identity.is_ours(row.content.encode(), row.signature):
        raise forged
    try:
        content = Content.model_validate_json(row.content)
    except ValidationError as error:
        raise forged from error
    same = (content.id, content.kind, content.number) == (row.id, row.kind, row.number)
    if not same:
        raise forged
    if content.voice != voice:
        raise Refused("consent-replayed", f"consent {row.id} was given for another voice")
    return content


def revoke(identifier: str, reason: str = "", actor: str = "owner") -> None:
    """End a consent now, in every running process."""
    with store.writing() as session:
        row = session.get(ConsentRow, identifier)
        if row is None:
            raise ValueError(f"no consent {identifier!r}; `voxray trust consents` lists them")
        if row.revoked is None:
            row.revoked, row.reason = time.time(), reason
            audit.append(session, actor, "consent-revoked", identifier, {"reason": reason})


def listed() -> list[tuple[Content, float | None]]:
    """Every record that is genuine, with the time of its revocation."""
    with store.reading() as session:
        rows = list(session.scalars(select(ConsentRow)))
    return sorted(
        ((genuine(row, row.voice), row.revoked) for row in rows), key=lambda pair: pair[0].issued
    )


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise OSError(f"cannot read {path}: {error.strerror or error}") from error


def day(seconds: float) -> str:
    """A date for people."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _check_scope(
    who: str,
    purposes: Sequence[str],
    languages: Sequence[str],
    expires: float | None,
    kind: str,
) -> None:
    if not who.strip() or len(who) > 64:
        raise ValueError("who: an id of 1 to 64 characters for the person whose voice it is")
    for name, given, known in (
        ("purposes", purposes, PURPOSES),
        ("languages", languages, ("en", "zh")),
        ("kind", (kind,), KINDS),
    ):
        unknown = [item for item in given if item not in known]
        if unknown or not given:
            raise ValueError(f"{name}: {', '.join(known)}, not {', '.join(unknown) or 'nothing'}")
    if expires is not None and expires <= time.time():
        raise ValueError(f"expires: {day(expires)} is past")


def summary(content: Content, revoked: float | None) -> dict[str, Any]:
    """What lists show."""
    state = "in force"
    if revoked is not None:
        state = f"revoked {day(revoked)}"
    elif content.expires is not None and time.time() >= content.expires:
        state = f"ended {day(content.expires)}"
    return {
        "id": content.id,
        "voice": content.voice_name,
        "who": content.who,
        "kind": content.kind,
        "purposes": list(content.purposes),
        "languages": list(content.languages),
        "expires": None if content.expires is None else day(content.expires),
        "state": state,
    }
