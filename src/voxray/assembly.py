"""What one request has made so far: audio, tokens, times, warnings, and where the time went."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .joining import Wave
from .synthesis import WordTime, timed_words
from .text import Phonemes

TOKEN_SECONDS = 0.04


class Assembly:
    """What has been made so far; becomes a `Synthesis`."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.samples = 0
        self.audio: list[Wave] = []
        self.tokens: list[int] = []
        self.alignment: list[int] = []
        self.times: list[float] = []
        self.ends: list[
            float
        ] = []  # of the tokens' sound: the silence cut off behind a piece has none
        self.latents: list[Wave] = []
        self.takes: list[int] = []  # of each sentence
        self.warnings: list[str] = []
        self.timings = {"text": 0.0, "tokens": 0.0, "audio": 0.0}
        self.started = time.perf_counter()

    def add(self, chunk: Wave) -> Wave:
        """Take a chunk in and pass it on."""
        if len(chunk) and "first_audio" not in self.timings:
            self.timings["first_audio"] = time.perf_counter() - self.started
        self.audio.append(chunk)
        self.samples += len(chunk)
        return chunk

    def place(self, times: Sequence[float]) -> None:
        """Note when a piece's tokens begin, in seconds, once all of its sound is there."""
        self.times.extend(times)
        self.ends.extend(min(begin + TOKEN_SECONDS, self.samples / self.rate) for begin in times)

    def spend(self, stage: str, since: float) -> None:
        """Book the time since `since` under a stage."""
        self.timings[stage] += time.perf_counter() - since

    def word_times(self, phonemes: Phonemes) -> list[WordTime]:
        """When each word is said; a word without tokens gets no time of its own."""
        spans: dict[int, tuple[float, float]] = {}
        for item, begin, end in zip(self.alignment, self.times, self.ends, strict=True):
            word = phonemes.items[item].word
            if word >= 0:
                first = spans.get(word, (begin, 0.0))[0]
                spans[word] = (first, max(first, end))
        return timed_words(phonemes, spans)
