"""What can be said of a file: proven, likely, unknown, in plain words.

`examine(path)` reads the watermark with this place's key, the Content Credentials if there are any,
and the record that they lead to. Proven is only what a signature or a hash shows; a watermark makes
likely (its bound on chance is given); what was not found says nothing about where a file is from.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import audio
from . import credentials, identity, records
from .records import Spoken
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
    proven: tuple[str, ...] = ()
    likely: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())

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
            "records": [item.id for item in self.records],
            "proven": list(self.proven),
            "likely": list(self.likely),
            "unknown": list(self.unknown),
            "warnings": list(self.warnings),
        }


def examine(path: str | Path) -> Finding:
    """Everything that this place can tell about a file."""
    wave, rate = audio.read_audio(path)
    seconds = len(wave) / rate
    mark = _mark(wave[: round(LONGEST * rate)], rate)
    claim = credentials.read(path)
    found = _records(mark, claim)
    told = _Telling()
    _tell_credentials(told, claim)
    _tell_mark(told, mark, found, seconds)
    _tell_record(told, wave, found, claim)
    return Finding(
        str(path), seconds, mark, claim, tuple(found),
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


class _Telling:
    def __init__(self) -> None:
        self.proven: list[str] = []
        self.likely: list[str] = []
        self.unknown: list[str] = []
        self.warnings: list[str] = []


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
        told.unknown.append(
            "no Content Credentials in the file (they are lost when it is re-coded)"
        )
    elif claim.broken:
        told.warnings.append(f"the Content Credentials are broken: {claim.broken}")
        told.unknown.append("what broken credentials say counts for nothing")
    elif claim.ours:
        told.proven.append("Content Credentials signed by this installation say: made by AI")
    else:
        told.likely.append(
            f"Content Credentials signed by {claim.signer or 'an unknown signer'} say: "
            f"{claim.title or 'made by AI'}; whether to trust the signer is up to you"
        )


def _tell_mark(told: _Telling, mark: Mark | None, found: list[Spoken], seconds: float) -> None:
    if mark is None:
        told.unknown.append(f"{seconds:.2f} s is too short for a watermark")
    elif not mark.present:
        told.unknown.append(
            "no watermark of this installation's key was found; "
            "the sound may still be synthetic, by others or with the mark destroyed"
        )
    else:
        told.likely.append(
            "spoken by this installation of voxray: its watermark is there "
            f"(by accident in at most {mark.chance:.0e} of unmarked sounds)"
        )
        if mark.low is None:
            told.unknown.append("the record's number could not be read; a longer piece may help")
        elif mark.number is None:
            told.unknown.append(
                f"only half of the record's number could be read: {len(found)} records end in it"
            )


def _tell_record(
    told: _Telling, wave: np.ndarray, found: list[Spoken], claim: credentials.Claim | None
) -> None:
    hashed = hashlib.sha256(np.ascontiguousarray(wave, np.float32).tobytes()).hexdigest()
    for item in found[:5]:
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(item.time))
        told.likely.append(
            f"record {item.id}: voice {item.voice_name!r}, {when}, consent {item.consent or 'none'}"
            f", {'key ' + item.key if item.key else 'by the owner'}"
        )
        if item.audio_hash == hashed:
            told.proven.append(f"every sample is as recorded in {item.id}")
    if claim is not None and claim.record is not None and not claim.broken:
        others = [item for item in found if item.number != claim.record]
        if others:
            told.warnings.append("watermark and credentials name different records")
