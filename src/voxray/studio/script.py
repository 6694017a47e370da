"""Scripts with several speakers: lines of `NAME: text` -> one take.

A name may be a voice's; other names are given voices by the cast (`Anna = nova`), or built-in ones of
the language they speak, in order of appearance. Each line is said, marked and recorded by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .. import audio
from ..synthesis import Synthesis, WordTime
from ..trust import gate
from ..voice import Voice, builtin_names
from .strings import Fault
from .takes import Take

if TYPE_CHECKING:
    from .actions import Studio

LINE = re.compile(r"\s*([\w][\w .'’·-]{0,31}?)\s*[:：]\s*(.*)")
PAUSE_SECONDS = 0.35


@dataclass(frozen=True)
class Line:
    """One speaker's turn."""

    name: str
    text: str


def parse(text: str, most: int) -> list[Line]:
    """The turns of a script; a line without a name goes on with the one before."""
    lines: list[Line] = []
    for number, row in enumerate(text.splitlines(), start=1):
        if not row.strip():
            continue
        found = LINE.fullmatch(row)
        if found:
            lines.append(Line(" ".join(found[1].split()), found[2].strip()))
        elif lines:
            lines[-1] = replace(lines[-1], text=f"{lines[-1].text} {row.strip()}".strip())
        else:
            raise Fault("bad-request", "turn-nameless", number=number)
    if not lines:
        raise Fault("text-empty", "script-empty")
    for line in lines:
        if not line.text:
            raise Fault("text-empty", "turn-empty", name=line.name)
    if len(lines) > most:
        raise Fault("text-too-long", "turns-many", count=len(lines), most=most)
    return lines


def parse_cast(text: str) -> dict[str, str]:
    """`Anna = nova`, one a line or with commas between -> name (folded) -> voice."""
    found = {}
    for part in re.split(r"[,，;\n]", text):
        if not part.strip():
            continue
        name, equals, voice = part.partition("=")
        if not (equals and name.strip() and voice.strip()):
            raise Fault("bad-request", "cast", part=f"{part.strip()!r:.60}")
        found[name.strip().casefold()] = voice.strip()
    return found


def cast(lines: list[Line], chosen: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """Who speaks in which voice: name -> voice."""
    folded = {name.casefold(): name for name in known}
    made: dict[str, str] = {}
    for line in lines:
        if line.name in made:
            continue
        wanted = chosen.get(line.name.casefold(), line.name)
        voice = folded.get(wanted.casefold())
        if voice is None and line.name.casefold() in chosen:
            raise Fault("voice-unknown", "voice-unknown", name=f"{wanted!r:.60}")
        made[line.name] = voice or _free(line.text, list(made.values()))
    return made


def _free(text: str, taken: list[str]) -> str:
    """A built-in voice of the text's language that nobody has yet."""
    language = "zh" if "zh" in gate.languages_of(text) else "en"
    able = [name for name in builtin_names() if Voice.builtin(name).language == language]
    able = able or builtin_names()
    if not able:
        raise Fault("voice-unknown", "no-builtin")
    return min(able, key=lambda name: (taken.count(name), name))


def speak_script(
    studio: Studio, text: str, chosen: str = "", seed: int | None = None, speed: float = 1.0
) -> Iterator[float | Take]:
    """How much has been said, 0 .. 1; at last the take of the whole script."""
    from .actions import Asked, check_text, speak

    check_text(studio, text)
    lines = parse(text, studio.settings.most_lines)
    voices = cast(lines, parse_cast(chosen), studio.cast.names())
    for line in lines:  # all may speak, or nobody begins
        studio.cast.speaker(voices[line.name], line.text)
    takes: list[Take] = []
    for number, line in enumerate(lines):
        begun = None if seed is None else seed + number
        for step in speak(studio, Asked(line.text, voices[line.name], begun, speed)):
            if isinstance(step, Take):
                takes.append(step)
            else:
                yield (number + step) / len(lines)
    yield studio.shelf.add(joined(lines, voices, takes))


def joined(lines: list[Line], voices: Mapping[str, str], takes: list[Take]) -> Take:
    """One take of many: sound and words one behind the other."""
    rate = takes[0].synthesis.sample_rate
    pause = np.zeros(round(PAUSE_SECONDS * rate), np.float32)
    waves: list[np.ndarray] = []
    words: list[WordTime] = []
    speakers: list[tuple[str, float, float]] = []
    begin, written = 0.0, 0
    for line, take in zip(lines, takes, strict=True):
        made = take.synthesis
        words += [_later(word, begin, written) for word in made.words]
        wave = audio.resample(made.audio, made.sample_rate, rate)
        speakers.append((f"{line.name} ({voices[line.name]})", begin, begin + len(wave) / rate))
        waves += [wave, pause]
        begin += (len(wave) + len(pause)) / rate
        written += len(made.text) + 1
    whole = _whole(takes, np.concatenate(waves[:-1]), rate, words)
    records = tuple(take.synthesis.record for take in takes)
    return replace(Take(whole, takes[0].voice, takes[0].options, takes[0].model),
                   speakers=tuple(speakers), records=records)  # fmt: skip


def _later(word: WordTime, seconds: float, written: int) -> WordTime:
    return WordTime(
        word.text, word.start_s + seconds, word.end_s + seconds,
        word.start + written, word.end + written,
    )  # fmt: skip


def _whole(takes: list[Take], wave: np.ndarray, rate: int, words: list[WordTime]) -> Synthesis:
    """The first line's synthesis with the sound, text and words of all, and without tokens."""
    none = np.zeros(0, np.int64)
    warnings = [note for take in takes for note in take.synthesis.warnings]
    return replace(
        takes[0].synthesis, audio=wave.astype(np.float32), sample_rate=rate, words=words,
        text="\n".join(take.synthesis.text for take in takes), tokens=none, alignment=none,
        token_times=np.zeros(0), latents=np.zeros((0, 0), np.float32),
        warnings=list(dict.fromkeys(warnings)),
    )  # fmt: skip
