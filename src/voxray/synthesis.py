"""What speaking returns: `Synthesis`, with every intermediate named, and its captions.

audio [N] at `sample_rate`; phonemes P; tokens [S]; alignment [S] (which phoneme each token says)
and token_times [S] (when, in seconds: pauses lie between tokens); latents [C, T].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .text import Phonemes

CAPTION_CHARACTERS = 84  # two lines of 42, the common subtitle limit
CAPTION_GAP = 0.6  # a longer silence starts a new caption
WIDE = 0x2E80  # from here on characters are twice as wide on a screen (Han, full width)


@dataclass(frozen=True)
class WordTime:
    """When a word is said; start and end are its span in the user's text."""

    text: str
    start_s: float
    end_s: float
    start: int = 0
    end: int = 0


def timed_words(phonemes: Phonemes, spans: Mapping[int, tuple[float, float]]) -> list[WordTime]:
    """When each word is said, from the `spans` in seconds that are known; one without begins and ends
    where the word before it ended.
    """
    words, now = [], 0.0
    for index, word in enumerate(phonemes.words):
        begin, end = spans.get(index, (now, now))
        words.append(WordTime(word.text, begin, end, word.start, word.end))
        now = end
    return words


@dataclass(frozen=True)
class Synthesis:
    """Speech and how it came about. `timings` are seconds of computing, by stage."""

    audio: NDArray[np.float32]  # [N]
    sample_rate: int
    text: str
    phonemes: Phonemes
    tokens: NDArray[np.int64]  # [S]
    alignment: NDArray[np.int64]  # [S]
    token_times: NDArray[np.float64]  # [S]
    latents: NDArray[np.float32]  # [C, T]
    seed: int
    words: list[WordTime] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    fingerprint: str = ""
    model: str = ""
    voice: str = ""
    options: dict[str, Any] = field(default_factory=dict)  # those that are not the defaults
    edits: list[dict[str, Any]] = field(default_factory=list)
    record: str = ""  # id of its record (`voxray.trust`)
    takes: list[int] = field(default_factory=list)  # which try at each sentence is said, from 0
    model_hash: str = ""  # SHA-256 of the model's weights; empty: they are no file's

    @property
    def seconds(self) -> float:
        """Length of the audio."""
        return len(self.audio) / self.sample_rate

    def report(self) -> dict[str, object]:
        """What `--json` prints: all but the arrays."""
        return {
            "text": self.text,
            "voice": self.voice,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "seed": self.seed,
            "record": self.record,
            "options": self.options,
            "takes": self.takes,
            "edits": self.edits,
            "sample_rate": self.sample_rate,
            "seconds": round(self.seconds, 3),
            "tokens": len(self.tokens),
            "timings": {stage: round(value, 4) for stage, value in self.timings.items()},
            "words": [
                {"text": w.text, "start": round(w.start_s, 3), "end": round(w.end_s, 3)}
                for w in self.words
            ],
            "warnings": self.warnings,
        }

    def srt(self) -> str:
        """SubRip subtitles: captions cut at sentence ends, silences and two lines' length."""
        blocks = []
        for number, words in enumerate(_captions(self.text, self.words), start=1):
            line = _caption_text(self.text, words)
            begin, end = _clock(words[0].start_s), _clock(words[-1].end_s)
            blocks.append(f"{number}\n{begin} --> {end}\n{line}\n")
        return "\n".join(blocks)


def _captions(text: str, words: list[WordTime]) -> list[list[WordTime]]:
    captions: list[list[WordTime]] = []
    for word in words:
        if not captions or _breaks(text, captions[-1], word):
            captions.append([])
        captions[-1].append(word)
    return captions


def _breaks(text: str, caption: list[WordTime], word: WordTime) -> bool:
    last = caption[-1]
    sentence_over = any(mark in text[last.end : word.start] for mark in ".!?。！？\n")
    too_long = _width(text[caption[0].start : word.end]) > CAPTION_CHARACTERS
    return sentence_over or too_long or word.start_s - last.end_s > CAPTION_GAP


def _width(text: str) -> int:
    return sum(2 if ord(character) >= WIDE else 1 for character in text)


def _caption_text(text: str, words: list[WordTime]) -> str:
    end = words[-1].end
    while end < len(text) and not text[end].isspace() and not text[end].isalnum():
        end += 1  # the punctuation that follows
    return " ".join(text[words[0].start : end].split())


def _clock(seconds: float) -> str:
    milliseconds = round(max(0.0, seconds) * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d},{milliseconds % 1000:03d}"
