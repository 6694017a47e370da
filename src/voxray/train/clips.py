"""Which slices are fit to learn a voice from? Every one is judged, and none is dropped without a word.

In: slices. Out: one `ClipReport` a slice: SNR, clipping, whether anybody speaks, how like the other clips
the speaker sounds, how far the text is from what a recogniser heard, whether it is a duplicate. A fault
keeps a slice out of training; a note does not. `split` sets some aside for measuring, spread over all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voxray import audio

from .slices import HEARD_RATE, WORD, Slice, Wave

NOISY_DB, HOPELESS_DB = 20.0, 5.0
CLIPPED = 0.001
LEAST_SPEECH = 0.4
MISMATCH = 0.6  # share of words that differ from what was heard: the text is of something else
DOUBTFUL = 0.25
RATES = {"en": (1.0, 6.0), "zh": (1.5, 9.0)}  # words, characters a second that people say
STRANGER_BELOW = 0.35  # of the similarity to the other clips' mean; speakers of one corpus: 0.5-0.8
TWO_BELOW, HALVED = 0.2, 4.0  # similarity of a clip's halves, for clips of so many seconds
SAME = 0.995  # correlation of two clips' spectra over time: one recording twice
Embed = Callable[[Wave], NDArray[np.float32]]  # wave at 16 kHz -> speaker embedding [D]


@dataclass
class ClipReport:
    """What was found of one slice. `speaker` is its similarity to the others, nan where unknown."""

    name: str
    seconds: float
    snr_db: float
    clipping: float
    speech: float
    speaker: float
    mismatch: float
    duplicate_of: str = ""
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def fit(self) -> bool:
        """Whether it may be learnt from."""
        return not self.faults


def report_clips(slices: Sequence[Slice], embed: Embed | None = None) -> list[ClipReport]:
    """Judge every slice."""
    near = _speakers(slices, embed)
    prints = [_print(piece) for piece in slices]
    made: list[ClipReport] = []
    for number, piece in enumerate(slices):
        found = audio.inspect(piece.wave, piece.rate)
        report = ClipReport(
            piece.name, round(piece.seconds, 2), found.snr_db, found.clipping, found.speech,
            near[number], mismatch(piece),
        )  # fmt: skip
        twin = next((made[k].name for k in range(number) if _same(prints[k], prints[number])), "")
        report.duplicate_of = twin
        _judge(report, piece)
        if embed is not None and piece.seconds >= HALVED:
            near_halves = _halves(piece, embed)
            if near_halves < TWO_BELOW:
                report.faults.append(f"two speakers? its halves are {near_halves:.2f} alike")
        made.append(report)
    return made


def _judge(report: ClipReport, piece: Slice) -> None:
    faults, notes = report.faults, report.notes
    if report.speech < LEAST_SPEECH:
        faults.append("no speech in it")
    if report.snr_db < HOPELESS_DB:
        faults.append(f"noise: {report.snr_db:.0f} dB signal to noise")
    elif report.snr_db < NOISY_DB:
        notes.append(f"{report.snr_db:.0f} dB signal to noise, below {NOISY_DB:.0f}")
    if report.clipping > CLIPPED:
        notes.append(f"{100 * report.clipping:.1f} % clipped")
    if report.duplicate_of:
        faults.append(f"the same as {report.duplicate_of}")
    if report.speaker < STRANGER_BELOW:
        faults.append(f"another speaker? {report.speaker:.2f} like the other clips")
    if report.mismatch > MISMATCH:
        faults.append(f"the text is not what is said: {piece.heard!r:.60}")
    elif report.mismatch > DOUBTFUL:
        notes.append(f"text and sound differ in {100 * report.mismatch:.0f} % of the words")
    rate = len(WORD.findall(piece.text)) / piece.seconds
    low, high = RATES[piece.language]
    if not piece.text:
        faults.append("no text")
    elif not 0.3 * low <= rate <= 1.5 * high:
        faults.append(f"{rate:.1f} words a second: the text does not fit the sound")


def mismatch(piece: Slice) -> float:
    """Share of the given words that the recogniser did not hear in their place; nan: nobody listened."""
    if not piece.heard or not piece.given:
        return float("nan")
    ours = [word.lower() for word in WORD.findall(piece.text)]
    theirs = [word.lower() for word in WORD.findall(piece.heard)]
    if not ours:
        return 1.0
    row = np.arange(len(theirs) + 1)
    for i, word in enumerate(ours, start=1):
        before, row = row, np.full(len(theirs) + 1, i)
        for j, other in enumerate(theirs, start=1):
            row[j] = min(before[j - 1] + (word != other), before[j] + 1, row[j - 1] + 1)
    return float(min(1.0, row[-1] / len(ours)))


def _speakers(slices: Sequence[Slice], embed: Embed | None) -> list[float]:
    """Similarity of each slice's voice to the mean of the others' (the median voice wins)."""
    if embed is None or len(slices) < 3:
        return [float("nan")] * len(slices)
    vectors = np.stack([embed(piece.at(HEARD_RATE)) for piece in slices])
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    pairs = vectors @ vectors.T
    centre = vectors[np.median(pairs, axis=1).argmax()]  # most like the others: of the majority
    kept = vectors[vectors @ centre >= np.median(vectors @ centre)]
    mean = kept.mean(0)
    return [float(v @ mean / max(1e-9, float(np.linalg.norm(mean)))) for v in vectors]


def _halves(piece: Slice, embed: Embed) -> float:
    """Similarity of the voices in a clip's two halves."""
    wave = piece.at(HEARD_RATE)
    one, other = embed(wave[: len(wave) // 2]), embed(wave[len(wave) // 2 :])
    return float(one @ other / max(1e-9, float(np.linalg.norm(one) * np.linalg.norm(other))))


def _print(piece: Slice) -> NDArray[np.float64]:
    """A clip's spectrum over time, in 16 bands and 48 moments: a fingerprint that survives a resave."""
    wave = piece.at(HEARD_RATE)
    cut = np.lib.stride_tricks.sliding_window_view(np.pad(wave, (0, 512)), 512)[::256]
    power = np.square(np.abs(np.fft.rfft(cut * np.hanning(512), axis=1)))[:, 1:]
    bands = np.log(power.reshape(len(power), 16, 16).mean(2) + 1e-7 * power.max() + 1e-12)
    place = np.linspace(0, len(bands) - 1, 48)
    level = np.stack([np.interp(place, np.arange(len(bands)), band) for band in bands.T])
    level = level - level.mean()
    return (level / max(1e-9, float(np.linalg.norm(level)))).ravel()


def _same(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return float(one @ other) > SAME


def split(
    slices: Sequence[Slice], reports: Sequence[ClipReport], minutes: float, held_share: float = 0.15
) -> tuple[list[Slice], list[Slice]]:
    """Slices to learn from, at most `minutes` of them, and held-out ones; ValueError if too little.

    The cleanest are taken; the held-out part is at least one clip, and what exceeds `minutes` is held
    out as well, up to 12 clips.
    """
    ranked = sorted(zip(slices, reports, strict=True), key=lambda pair: -pair[1].snr_db)
    good = [piece for piece, report in ranked if report.fit]
    seconds = sum(piece.seconds for piece in good)
    if seconds < 8.0 or len(good) < 2:
        faults = [f"{r.name}: {r.faults[0]}" for r in reports if r.faults][:3]
        raise ValueError(
            f"{seconds:.1f} s of usable speech in {len(good)} clips; 8 s in two clips are the least, "
            "a minute is better" + (f" ({'; '.join(faults)})" if faults else "")
        )
    step = max(2, round(1 / held_share))
    held = [piece for number, piece in enumerate(good) if number % step == step // 2] or good[-1:]
    train, used = [], 0.0
    for piece in good:
        if any(piece is other for other in held):
            continue
        if used + piece.seconds > 60.0 * minutes + 1e-6 and train:
            held.append(piece)
            continue
        train.append(piece)
        used += piece.seconds
    return train, held[:12]
