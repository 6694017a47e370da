"""The record of a synthesis: begun before a sound is made, finished or refused after.

A record has a number of 32 bits, which its watermark carries. What is kept: voice, model, consent,
caller, seed, time, length, a hash of the text (not the text) and a hash of the marked audio.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from . import audit, store
from .tables import SpokenRow
from .watermark.pattern import NUMBERS

_fixed: ContextVar[int | None] = ContextVar("voxray_record_number", default=None)


@contextmanager
def numbered(number: int) -> Iterator[None]:
    """Within, the next record gets this number: same seed, same number, same marked samples."""
    if not 0 <= number < NUMBERS:
        raise ValueError(f"a record's number has 32 bits; {number} does not fit")
    token = _fixed.set(number)
    try:
        yield
    finally:
        _fixed.reset(token)


@dataclass(frozen=True)
class Spoken:
    """A record, as `verify` and the commands show it."""

    number: int
    time: float
    voice: str
    voice_name: str
    model: str
    consent: str
    key: str
    seed: int
    text_hash: str
    characters: int
    state: str
    seconds: float | None
    audio_hash: str | None

    @property
    def id(self) -> str:
        """How a record is written."""
        return f"r-{self.number:08x}"


def begin(session: Session, actor: str, text: str, **columns: Any) -> SpokenRow:
    """Put down what is about to be said, within the gate's transaction."""
    row = SpokenRow(
        number=_number(session),
        time=time.time(),
        text_hash=hashlib.sha256(text.encode()).hexdigest(),
        characters=len(text),
        state="begun",
        seconds=None,
        audio_hash=None,
        **columns,
    )
    session.add(row)
    session.flush()
    details = {"voice": row.voice, "consent": row.consent, "text": row.text_hash}
    audit.append(session, actor, "speech-begun", f"r-{row.number:08x}", details)
    return row


def finish(
    session: Session, actor: str, number: int, audio: NDArray[np.float32], rate: int
) -> None:
    """Put down that it was said."""
    row = session.get_one(SpokenRow, number)
    row.state, row.seconds = "done", len(audio) / rate
    row.audio_hash = hashlib.sha256(np.ascontiguousarray(audio, np.float32).tobytes()).hexdigest()
    details = {"seconds": round(row.seconds, 3), "audio": row.audio_hash}
    audit.append(session, actor, "speech-done", f"r-{number:08x}", details)


def refuse(session: Session, actor: str, number: int, code: str) -> None:
    """Put down that it was stopped."""
    session.get_one(SpokenRow, number).state = "refused"
    audit.append(session, actor, "speech-refused", f"r-{number:08x}", {"code": code})


def find(number: int) -> Spoken | None:
    """The record of a number."""
    with store.reading() as session:
        row = session.get(SpokenRow, number)
    return None if row is None else _shown(row)


def ending_in(low_word: int) -> list[Spoken]:
    """The records whose number ends in these 16 bits: what a short clip can tell."""
    with store.reading() as session:
        rows = session.scalars(
            select(SpokenRow).where(SpokenRow.number % 65536 == low_word).order_by(SpokenRow.time)
        )
        return [_shown(row) for row in rows]


def latest(count: int = 20) -> list[Spoken]:
    """The newest records, newest first."""
    with store.reading() as session:
        rows = session.scalars(select(SpokenRow).order_by(SpokenRow.time.desc()).limit(count))
        return [_shown(row) for row in rows]


def _shown(row: SpokenRow) -> Spoken:
    return Spoken(**{name: getattr(row, name) for name in Spoken.__dataclass_fields__})


def _number(session: Session) -> int:
    """A number that is not taken; the chosen one, where one was chosen."""
    chosen = _fixed.get()
    if chosen is not None:
        if session.get(SpokenRow, chosen) is not None:
            raise ValueError(f"there is a record r-{chosen:08x} already; choose another number")
        return chosen
    while True:
        number = secrets.randbelow(NUMBERS)
        if session.get(SpokenRow, number) is None:
            return number
