"""What can be said of a file: proven, likely, unknown, in plain words.

`examine(path)` reads the watermark with this place's key, the Content Credentials if there are any,
and the record that they lead to. Proven is only what a signature or a hash shows; a watermark makes
likely (its bound on chance is given); what was not found says nothing about where a file is from.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import audio
from . import credentials, identity, records
from .findings import Line
from .records import Spoken
from .watermark import public
from .watermark.detect import FALSE_ALARM, SHORTEST, Mark, detect

LONGEST = 60.0  # seconds of a file that are listened to
WINDOW = 10.0


@dataclass(frozen=True)
class Finding:
    """One file's case."""

    file: str
    seconds: float
    mark: Mark | None
    credentials: credentials.Claim | None
    records: tuple[Spoken, ...]
    public_mark: bool | None = None  # None: it cannot be read here
    proven: tuple[Line, ...] = ()
    likely: tuple[Line, ...] = ()
    unknown: tuple[Line, ...] = ()
    warnings: tuple[Line, ...] = ()

    def report(self) -> dict[str, Any]:
        """What `--json` prints."""
        mark = self.mark
        return {
            "file": self.file,
            "seconds": round(self.seconds, 2),
            "watermark": mark
            and {
                "present": mark.present,
                "chance": mark.chance,
                "speed": mark.speed,
                "number": mark.number,
                "low_word": mark.low,
            },
            "credentials": self.credentials and self.credentials.report(),
            "public_mark": self.public_mark,
            "records": [item.id for item in self.records],
            "proven": [str(line) for line in self.proven],
            "likely": [str(line) for line in self.likely],
            "unknown": [str(line) for line in self.unknown],
            "warnings": [str(line) for line in self.warnings],
        }


def examine(path: str | Path) -> Finding:
    """Everything that this place can tell about a file."""
    wave, rate = audio.read_audio(path)
    seconds = len(wave) / rate
    mark = _mark(wave[: round(LONGEST * rate)], rate)
    claim = credentials.read(path)
    found = _records(mark, claim)
    perth = _public_mark(wave[: round(LONGEST * rate)], rate)
    told = _Telling()
    _tell_credentials(told, claim)
    _tell_mark(told, mark, found, seconds)
    if perth:
        told.likely.append(Line.of("public-mark"))
    _tell_record(told, wave, found, claim)
    return Finding(
        str(path), seconds, mark, claim, tuple(found), perth,
        tuple(told.proven), tuple(told.likely), tuple(told.unknown), tuple(told.warnings),
    )  # fmt: skip


def _mark(wave: np.ndarray, rate: int) -> Mark | None:
    """The surest mark: of the whole, or of one of its ten-second parts if the whole shows none."""
    if len(wave) < SHORTEST * rate:
        return None
    key = identity.mark_key()
    whole = detect(wave, rate, key)
    if whole.present or len(wave) <= 2 * WINDOW * rate:
        return whole
    step = round(WINDOW * rate)
    parts = [detect(wave[i : i + step], rate, key) for i in range(0, len(wave) - step + 1, step)]
    best = min(parts, key=lambda mark: mark.chance)
    tries = len(parts) + 1
    return best if best.chance * tries <= FALSE_ALARM else whole


def _public_mark(wave: np.ndarray, rate: int) -> bool | None:
    """Whether anybody's public mark is there, where that can be told."""
    if not public.installed():
        return None
    try:
        return public.likeness(wave, rate) >= public.LIKELY
    except (ImportError, OSError, RuntimeError, TypeError):
        return None


class _Telling:
    def __init__(self) -> None:
        self.proven: list[Line] = []
        self.likely: list[Line] = []
        self.unknown: list[Line] = []
        self.warnings: list[Line] = []


def _records(mark: Mark | None, claim: credentials.Claim | None) -> list[Spoken]:
    numbers = [] if mark is None or mark.number is None else [mark.number]
    if claim is not None and claim.record is not None:
        numbers.append(claim.record)
    found = [item for item in map(records.find, dict.fromkeys(numbers)) if item is not None]
    if not found and mark is not None and mark.low is not None:
        found = records.ending_in(mark.low)
    return found


def _tell_credentials(told: _Telling, claim: credentials.Claim | None) -> None:
    if claim is None:
        told.unknown.append(Line.of("credentials-none"))
    elif claim.broken:
        told.warnings.append(Line.of("credentials-broken", why=claim.broken))
        told.unknown.append(Line.of("credentials-worthless"))
    elif claim.ours:
        told.proven.append(Line.of("credentials-ours"))
    else:
        told.likely.append(Line.of("credentials-others", signer=claim.signer, title=claim.title))


def _tell_mark(told: _Telling, mark: Mark | None, found: list[Spoken], seconds: float) -> None:
    if mark is None:
        told.unknown.append(Line.of("mark-short", seconds=f"{seconds:.2f}"))
    elif not mark.present:
        told.unknown.append(Line.of("mark-none"))
    else:
        told.likely.append(Line.of("mark-found", chance=f"{mark.chance:.0e}"))
        if mark.low is None:
            told.unknown.append(Line.of("number-unread"))
        elif mark.number is None:
            told.unknown.append(Line.of("number-half", count=len(found)))


def _tell_record(
    told: _Telling, wave: np.ndarray, found: list[Spoken], claim: credentials.Claim | None
) -> None:
    hashed = hashlib.sha256(np.ascontiguousarray(wave, np.float32).tobytes()).hexdigest()
    for item in found[:5]:
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(item.time))
        by = {"caller": item.key} if item.key else {}
        code = "record-key" if by else "record-owner"
        voice = repr(item.voice_name)
        line = Line.of(code, id=item.id, voice=voice, when=when, consent=item.consent, **by)
        told.likely.append(line)
        if item.audio_hash == hashed:
            told.proven.append(Line.of("samples-same", id=item.id))
    if claim is not None and claim.record is not None and not claim.broken:
        others = [item for item in found if item.number != claim.record]
        if others:
            told.warnings.append(Line.of("records-differ"))
