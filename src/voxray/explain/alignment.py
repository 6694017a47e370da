"""When each phoneme and word is said, read from the attention of alignment heads.

In: attention [S, P] of tokens to phonemes, averaged over the chosen heads. Out: a path that never goes
back (one phoneme a token) and times in seconds, finer than a token: the start of phoneme p is where
the attention has moved past p - 1 (its mass near the path, summed over tokens). Whisper's timestamps
(Radford et al. 2022) come from attention likewise. `align_recording` does it for speech that people
said, given the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .. import audio
from ..assembly import TOKEN_SECONDS
from ..bundle import RATE, Bundle
from ..joining import monotone_path
from ..options import SynthesisOptions
from ..pieces import check_text, closed
from ..synthesis import Synthesis, WordTime, timed_words
from ..text import Phonemes, TextPipeline
from ..voice import Voice
from .replay import Passage, Spoken
from .tracing import PassageTrace, Trace, trace_of

REACH = 1  # phonemes around the path whose attention counts

Head = tuple[int, int]  # layer, head
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class PhonemeTime:
    """When a phoneme is said; `item` is its place in the whole text's phonemes."""

    symbol: str
    item: int
    word: int
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Alignment:
    """Which phoneme each token says, and when everything is said."""

    path: NDArray[np.int64]  # [S], places in the whole text's phonemes
    phonemes: tuple[PhonemeTime, ...]
    words: tuple[WordTime, ...]
    heads: tuple[Head, ...]


def averaged(part: PassageTrace, heads: Sequence[Head]) -> Floats:
    """Attention [S, P] over the heads' mean, each row's text mass scaled to one."""
    if not heads:
        raise ValueError("no heads to align by were given")
    chosen = np.stack([part.attention[layer, head] for layer, head in heads]).astype(np.float64)
    mean = chosen.mean(0)  # [S, P]
    return mean / np.maximum(mean.sum(1, keepdims=True), 1e-9)


def near_path(weights: Floats, path: NDArray[np.int64], reach: int = REACH) -> Floats:
    """Weights [S, P] within `reach` phonemes of the path, rows summing to one."""
    apart = np.abs(np.arange(weights.shape[1])[None] - path[:, None])
    kept = np.where(apart <= reach, weights, 0.0) + 1e-9 * (apart == 0)
    return kept / kept.sum(1, keepdims=True)


def starts(near: Floats) -> Floats:
    """Where each phoneme begins, in tokens [P]: how much of the mass [S, P] lies before it."""
    return np.concatenate([np.zeros((len(near), 1)), near.cumsum(1)[:, :-1]], axis=1).sum(0)


def align(trace: Trace, heads: Sequence[Head] | None = None) -> Alignment:
    """Times of all phonemes and words; `heads` default to the model's guided or found ones."""
    from .heads import alignment_heads

    chosen = tuple(alignment_heads(trace) if heads is None else heads)
    made = trace.synthesis
    paths, times = [], []
    for part in trace.passages:
        weights = averaged(part, chosen)
        path = monotone_path(weights)
        edges = np.append(starts(near_path(weights, path)), len(path))
        zero = trace.zero(part.passage)
        paths.append(np.asarray(part.passage.items)[path])
        for place, item in enumerate(part.passage.items):
            symbol = made.phonemes.items[item]
            begin, end = np.clip(zero + trace.token_seconds * edges[place : place + 2], 0, None)
            times.append(PhonemeTime(symbol.symbol, item, symbol.word, float(begin), float(end)))
    return Alignment(
        np.concatenate(paths), tuple(times), tuple(word_times(made.phonemes, times)), chosen
    )


def word_times(phonemes: Phonemes, times: Sequence[PhonemeTime]) -> list[WordTime]:
    """From the first to the last phoneme of each word; a word without phonemes gets no length."""
    spans: dict[int, tuple[float, float]] = {}
    for time in times:
        if time.word >= 0:
            begin = spans.get(time.word, (time.start_s, 0.0))[0]
            spans[time.word] = (begin, time.end_s)
    return timed_words(phonemes, spans)


def uniform(trace: Trace) -> Alignment:
    """The straight diagonal: what an alignment has to beat."""
    made = trace.synthesis
    paths, times = [], []
    for part in trace.passages:
        tokens, items = len(part.passage.tokens), part.passage.items
        zero = trace.zero(part.passage)
        edges = np.clip(
            zero + trace.token_seconds * np.linspace(0, tokens, len(items) + 1), 0, None
        )
        paths.append(np.asarray(items)[np.arange(tokens) * len(items) // tokens])
        for place, item in enumerate(items):
            symbol = made.phonemes.items[item]
            times.append(
                PhonemeTime(
                    symbol.symbol,
                    item,
                    symbol.word,
                    float(edges[place]),
                    float(edges[place + 1]),
                )
            )
    return Alignment(
        np.concatenate(paths), tuple(times), tuple(word_times(made.phonemes, times)), ()
    )


def hear(models: Bundle, text: str, wave: NDArray[np.float32], rate: int) -> Trace:
    """Open a recording of `text` as if the model had said it: its tokens, teacher-forced."""
    heard = audio.resample(wave, rate, RATE)
    tokens = models.tokens(wave, rate)
    if not tokens:
        raise ValueError(f"the recording is {len(wave) / rate:.2f} s long; 0.04 s is a token")
    front: TextPipeline = models.text_pipeline()
    phonemes = front(check_text(text))
    if front.convention == "voxray":
        phonemes = closed(phonemes)
    count = len(phonemes)
    if count == 0:
        raise ValueError("the text holds nothing that is said")
    path = tuple(i * count // len(tokens) for i in range(len(tokens)))
    context = models.context(phonemes)
    passage = Passage(
        number=0,
        items=tuple(range(count)),
        words=tuple(item.word for item in phonemes.items),
        ids=tuple(phonemes.ids),
        tokens=tuple(tokens),
        path=path,
        begin=0,
        context=None if context is None else context[None],
    )
    made = Synthesis(
        audio=heard,
        sample_rate=RATE,
        text=text,
        phonemes=phonemes,
        tokens=np.asarray(tokens, np.int64),
        alignment=np.asarray(path, np.int64),
        token_times=np.asarray(np.arange(len(tokens)) * TOKEN_SECONDS, np.float64),
        latents=np.zeros((0, 0), np.float32),
        seed=0,
        model=models.name,
    )
    nobody = Voice.heard("recording", wave, rate, models)
    options = SynthesisOptions(seed=0, watch=None, style=False)  # nothing held the heads in place
    return trace_of(Spoken(models, nobody, options, made, (passage,)))


def align_recording(
    models: Bundle,
    text: str,
    wave: NDArray[np.float32],
    rate: int,
    heads: Sequence[Head] | None = None,
) -> Alignment:
    """When the words of a text are said in a recording [N] of it."""
    return align(hear(models, text, wave, rate), heads)


def boundary_errors(found: Sequence[WordTime], truth: Sequence[WordTime]) -> Floats:
    """Seconds between the starts of the same words, absolute; words without length are left out."""
    if len(found) != len(truth):
        raise ValueError(f"{len(found)} words were found, {len(truth)} are known")
    pairs = zip(found, truth, strict=True)
    return np.asarray([abs(a.start_s - b.start_s) for a, b in pairs if b.end_s > b.start_s])


def shifted(words: Sequence[WordTime], seconds: float) -> list[WordTime]:
    """The same words, earlier or later."""
    return [
        replace(w, start_s=max(0.0, w.start_s + seconds), end_s=max(0.0, w.end_s + seconds))
        for w in words
    ]
