"""A sentence with a fresh number, to be read aloud: proof that the speaker is there and agrees.

`prompt` hands out a number that counts once, for half an hour. `check` listens to the recording:
the number must be in it (by the recogniser of the extra `eval`, where it is installed), and the
speaker must be the one of the reference (by the model's own speaker vector).
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import audio
from ..bundle import Bundle
from ..voice import prepare
from . import audit, store
from .errors import Refused
from .tables import PromptRow

DIGITS = 6
VALID_SECONDS = 1800.0
SAME_SPEAKER = 0.75  # cosine of the built-in model's speaker vectors
SENTENCES = {
    "en": "I agree that my voice may be copied by a computer. My number is {spoken}.",
    "zh": "我同意由计算机复制我的声音。我的号码是{spoken}。",
}
WORDS = {
    "en": "zero one two three four five six seven eight nine".split(),
    "zh": list("零一二三四五六七八九"),
}
Recogniser = Callable[[NDArray[np.float32], str], str]  # wave at 16 kHz, language -> text


@dataclass(frozen=True)
class Prompt:
    """What to read aloud."""

    number: str
    language: str
    sentence: str


def prompt(language: str = "en", actor: str = "owner") -> Prompt:
    """A sentence with a number that nobody has read before."""
    if language not in SENTENCES:
        raise ValueError(f"a prompt is in en or zh, not {language!r}")
    number = "".join(secrets.choice("0123456789") for _ in range(DIGITS))
    with store.writing() as session:
        session.add(PromptRow(number=number, language=language, issued=time.time(), used=None))
        session.flush()
        audit.append(session, actor, "prompt-issued", number, {"language": language})
    return _sentence(number, language)


def find(number: str) -> Prompt:
    """A prompt that was handed out and is still good."""
    with store.reading() as session:
        row = session.get(PromptRow, number)
    if row is None or row.used is not None:
        raise Refused(
            "consent-replayed", f"the number {number} was never handed out, or was read before"
        )
    if time.time() - row.issued > VALID_SECONDS:
        raise Refused("consent-expired", f"the number {number} is older than half an hour")
    return _sentence(number, row.language)


def check(
    asked: Prompt,
    recording: str | Path,
    reference: str | Path,
    *,
    model: Bundle | None = None,
    recogniser: Recogniser | None = None,
) -> dict[str, str | float]:
    """What was measured; a refusal where the text or the speaker is another."""
    models = model or Bundle.builtin()
    read = prepare(*audio.read_audio(recording), str(recording))
    first = prepare(*audio.read_audio(reference), str(reference))
    vectors = [models.speaker_vector(r.heard_by(models), r.rate) for r in (read, first)]
    a, b = (vector.double() / vector.double().norm() for vector in vectors)
    likeness = float(a @ b)
    if likeness < SAME_SPEAKER:
        raise Refused(
            "consent-speaker",
            f"{recording} seems to be another speaker than {reference} "
            f"(likeness {likeness:.2f}, {SAME_SPEAKER} is needed)",
        )
    checks: dict[str, str | float] = {"speaker_likeness": round(likeness, 3), "heard": "unchecked"}
    if recogniser is not None:
        wave = audio.resample(read.wave, read.rate, 16_000)
        checks["heard"] = _check_text(asked, recogniser(wave, asked.language), str(recording))
    return checks


def recogniser() -> Recogniser | None:
    """The evaluation's recogniser, where it is installed; it never saw our training."""
    from ..evaluate.judges import Judges
    from ..evaluate.missing import JudgeMissing

    try:
        hear = Judges().recogniser
    except JudgeMissing:
        return None
    return lambda wave, language: hear([wave], language)[0]


def digits(text: str) -> str:
    """The digits that a text names, in figures or words of either language."""
    for language in WORDS:
        for value, word in enumerate(WORDS[language]):
            pattern = rf"\b{word}\b" if language == "en" else word
            text = re.sub(pattern, str(value), text.lower())
    text = re.sub(r"\boh\b", "0", text.replace("〇", "0").replace("幺", "1").replace("两", "2"))
    return "".join(re.findall(r"[0-9]", text))


def _check_text(asked: Prompt, heard: str, recording: str) -> str:
    if asked.number not in digits(heard):
        raise Refused(
            "consent-text",
            f"{recording} does not say the number {asked.number}; heard: {heard[:80]!r}",
        )
    return heard


def _sentence(number: str, language: str) -> Prompt:
    join = " " if language == "en" else ""
    spoken = join.join(WORDS[language][int(figure)] for figure in number)
    return Prompt(number, language, SENTENCES[language].format(spoken=spoken))
