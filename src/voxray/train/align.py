"""Phonemes with times: the teacher's exact durations carried over to our own phonemes, and forced
alignment (Viterbi over frame log-probabilities) where only audio and text are known.

Times are frames of 20 ms. A phoneme's span may be empty; leading silence belongs to no phoneme.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from voxray.text import Phonemes

from .corpus import TEACHER_LEAD_SECONDS

FRAME_SECONDS = 0.02
LOUD_DB, QUIET_DB = 25.0, 35.0  # below a clip's loudest frame: no silence, maybe silence
LOUD_COST = 8.0  # of calling a loud frame silence, in log-probability
REST_COST = 0.2  # of a silence within a label, where a pause might stand for it
SQUEEZED = 0.35  # share of labels without a frame: the text does not fit
MARKS_BEFORE = set("ˈˌ")  # sound as the vowel after them
MARKS_AFTER = set("ːʰʲ→↗↓↘ \u0303")  # qualify the symbol before

ARPABET = {
    "AA": "ɑ", "AE": "æ", "AH": "ə", "AO": "ɔ", "AW": "W", "AY": "I", "B": "b", "CH": "ʧ", "D": "d",
    "DH": "ð", "EH": "ɛ", "ER": "ɜɹ", "EY": "A", "F": "f", "G": "ɡ", "HH": "h", "IH": "ɪ", "IY": "i",
    "JH": "ʤ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ", "OW": "O", "OY": "Y", "P": "p",
    "R": "ɹ", "S": "s", "SH": "ʃ", "T": "t", "TH": "θ", "UH": "ʊ", "UW": "u", "V": "v", "W": "w",
    "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
INITIALS = {
    "b": "p", "p": "p", "m": "m", "f": "f", "d": "t", "t": "t", "n": "n", "l": "l", "g": "k", "k": "k",
    "h": "x", "j": "ʨ", "q": "ʨ", "x": "ɕ", "zh": "ꭧ", "ch": "ꭧ", "sh": "ʂ", "r": "ɻ", "z": "ʦ",
    "c": "ʦ", "s": "s", "y": "", "w": "", "AA": "", "EE": "", "OO": "", "E": "",
}  # fmt: skip
FINALS = {
    "a": "a", "o": "wo", "e": "ɤ", "i": "i", "u": "u", "v": "y", "ai": "ai", "ei": "ei", "ao": "au",
    "ou": "ou", "an": "an", "en": "ən", "ang": "aŋ", "eng": "əŋ", "ong": "ʊŋ", "ia": "ja", "ie": "je",
    "iao": "jau", "iu": "jou", "iou": "jou", "ian": "jɛn", "in": "in", "iang": "jaŋ", "ing": "iŋ",
    "iong": "jʊŋ", "ua": "wa", "uo": "wo", "uai": "wai", "ui": "wei", "uei": "wei", "uan": "wan",
    "un": "wən", "uen": "wən", "uang": "waŋ", "ve": "ɥe", "van": "ɥɛn", "vn": "yn", "er": "ɚ",
    "ir": "ɨ", "i0": "ɨ", "E": "ɛ", "En": "ɛn",
}  # fmt: skip
ALIKE = [
    set("əʌɐɜɚᵊɪᵻɨ"), set("ɑɒɔaæ"), set("OQoʊʌɔ"), set("iɪjyɥᵻ"), set("uʊw"), set("ɛeæAə"),
    set("tɾdʔ"), set("ɹɻɚɜ"), set("ʃʂɕs"), set("ʧʨꭧʦ"), set("nŋm"), set("xh"), set("ɤəʌ"),
    set("szʒʃ"), set("θfð"),
]  # fmt: skip
VOWELS = set("ɑɒɐæəɔʌɜɪᵻɨiɛeAOQIWYoʊuaɚᵊyɤøœ")
PAUSES = set(',.!?-…;:—"“”()')


def expected(symbol: str, language: str) -> str:
    """What the teacher is expected to write for one of our phonemes, marks left out."""
    if symbol in PAUSES or symbol.startswith("SP"):
        return "." if symbol in ".!?…" else ","
    if language == "zh":
        if symbol in INITIALS and not symbol[-1].isdigit():
            return INITIALS[symbol]
        return FINALS.get(symbol.rstrip("012345") or symbol, FINALS.get(symbol, symbol[:1]))
    return ARPABET.get(symbol.rstrip("012"), symbol[:1].lower())


@cache
def _score(ours: str, theirs: str) -> float:
    if ours == theirs:
        return 2.0
    if ours in PAUSES or theirs in PAUSES:
        return 0.5 if (ours in PAUSES) == (theirs in PAUSES) else -3.0
    if any(ours in group and theirs in group for group in ALIKE):
        return 1.2
    return 0.2 if (ours in VOWELS) == (theirs in VOWELS) else -1.5


def match(ours: list[str], theirs: list[str]) -> tuple[list[int], float]:
    """Needleman-Wunsch: for each of `theirs` the index of its partner in `ours` (-1: none)."""
    n, m = len(ours), len(theirs)
    best = np.zeros((n + 1, m + 1))
    best[:, 0], best[0, :] = -np.arange(n + 1), -np.arange(m + 1)
    pair = np.array([[_score(a, b) for b in theirs] for a in ours]) if n and m else np.zeros((n, m))
    for i in range(1, n + 1):
        row, above, scores = best[i], best[i - 1], pair[i - 1]
        candidate = np.maximum(above[:-1] + scores, above[1:] - 1)
        for j in range(1, m + 1):
            row[j] = max(candidate[j - 1], row[j - 1] - 1)
    partner, i, j = [-1] * m, n, m
    while i and j:
        if best[i, j] == best[i - 1, j - 1] + pair[i - 1, j - 1]:
            i, j = i - 1, j - 1
            partner[j] = i
        elif best[i, j] == best[i - 1, j] - 1:
            i -= 1
        else:
            j -= 1
    return partner, float(best[n, m]) / max(n, m, 1)


def teacher_spans(
    phonemes: Phonemes, phones: str, durations: tuple[float, ...], frames: int
) -> tuple[np.ndarray, float]:
    """Frame spans [P, 2] of our phonemes from the teacher's symbols and seconds; match quality."""
    ends = np.cumsum(durations) - TEACHER_LEAD_SECONDS
    starts = ends - np.asarray(durations)
    spans = _merge_marks(phones, starts[1:-1], ends[1:-1])
    letters, owner = [], []
    for index, item in enumerate(phonemes.items):
        for letter in expected(item.symbol, item.language):
            letters.append(letter)
            owner.append(index)
    partner, quality = match(letters, [s for s, _, _ in spans])
    result = np.full((len(phonemes.items), 2), -1.0)
    previous = 0
    for (_, start, end), p in zip(spans, partner, strict=True):
        index = owner[p] if p >= 0 else previous
        previous = index
        if result[index, 0] < 0:
            result[index] = start, end
        result[index, 1] = max(result[index, 1], end)
    return _to_frames(result, frames), quality


def _merge_marks(
    phones: str, starts: np.ndarray, ends: np.ndarray
) -> list[tuple[str, float, float]]:
    spans: list[tuple[str, float, float]] = []
    pending: float | None = None
    for symbol, start, end in zip(phones, starts, ends, strict=True):
        if symbol in MARKS_BEFORE:
            pending = start if pending is None else pending
        elif symbol in MARKS_AFTER and spans:
            spans[-1] = (spans[-1][0], spans[-1][1], end)
        else:
            spans.append((symbol, start if pending is None else pending, end))
            pending = None
    return spans


def _to_frames(seconds: np.ndarray, frames: int) -> np.ndarray:
    """Fill unmatched phonemes with empty spans, make spans monotone, close gaps."""
    place = np.round(seconds / FRAME_SECONDS).astype(np.int64)
    at = max(int(place[place[:, 0] >= 0, 0].min(initial=0)), 0)
    for row in place:
        if row[0] < 0:
            row[:] = at
        row[0] = np.clip(row[0], at, frames)
        row[1] = np.clip(row[1], row[0], frames)
        at = int(row[1])
    place[:-1, 1] = place[1:, 0]
    if len(place):
        place[-1, 1] = frames
    return place


def forced_spans(
    log_probs: np.ndarray, labels: list[int], silence: int, level: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Viterbi alignment of frame log-probabilities [T, symbols] to a label sequence.

    Silence may stand before the first and take the place of any pause label. With the frames' `level` [T] in
    dB, a loud frame is nobody's silence and a quiet one may be silence within any label. Returns spans
    [P, 2] and the mean log-probability of the frames that are not quiet (a low one, or -inf where most
    labels got no frame: the text is not what is said).
    """
    frames = len(log_probs)
    states = [silence, *labels]
    emit = log_probs[:, states].astype(np.float64)  # [T, P + 1]
    counted = np.ones(frames, dtype=bool)
    if level is not None:
        loud, quiet = level > level.max() - LOUD_DB, level < level.max() - QUIET_DB
        still = np.array([state == silence for state in states])
        emit[np.ix_(loud, still)] -= LOUD_COST
        emit[quiet] = np.maximum(emit[quiet], log_probs[quiet, silence, None] - REST_COST)
        counted = ~quiet if (~quiet).any() else counted
    score = np.full(len(states), -np.inf)
    score[:2] = emit[0, :2]
    back = np.zeros((frames, len(states)), dtype=np.int8)
    for t in range(1, frames):
        step = np.concatenate([[-np.inf], score[:-1]])
        skip = np.concatenate([[-np.inf, -np.inf], score[:-2] - 4.0])  # a phoneme may be dropped
        options = np.stack([score, step, skip])
        back[t] = options.argmax(0)
        score = options.max(0) + emit[t]
    state = len(states) - 1
    path = np.zeros(frames, dtype=np.int64)
    for t in range(frames - 1, -1, -1):
        path[t] = state
        state -= int(back[t, state])
    spans = np.zeros((len(labels), 2), dtype=np.int64)
    at = int((path == 0).sum())
    for index in range(len(labels)):
        count = int((path == index + 1).sum())
        spans[index] = at, at + count
        at += count
    along = emit[np.arange(frames), path][counted]
    squeezed = level is not None and (spans[:, 0] == spans[:, 1]).mean() > SQUEEZED
    return spans, float("-inf") if squeezed else float(along.mean())
