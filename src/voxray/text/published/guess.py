"""Unlisted English words, guessed as in training: the recurrent network of the package g2p_en.

In: a lower-case word. Out: ARPAbet, or None where the package is not installed (voxray's own
`spelling.py` then guesses). Only its weights are read: the package itself would download corpora
of nltk when it is imported. A gated recurrent unit (Cho et al. 2014) reads the letters, another
writes the sounds, always the likeliest next one.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

_LETTERS = {letter: i for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz", 3)}
_UNKNOWN, _WORD_END = 1, 2
_START, _END, _FIRST_SOUND = 2, 3, 4
_LONGEST = 20
_SOUNDS = tuple(
    symbol
    for sound in (
        "AA* AE* AH* AO* AW* AY* B CH D DH EH* ER* EY* F G HH IH* IY* JH K L M N NG OW* OY* P R S SH T"
        " TH UH* UW UW* V W Y Z ZH"
    ).split()
    for symbol in ([sound[:-1] + stress for stress in "012"] if sound[-1] == "*" else [sound])
)
Weights = dict[str, np.ndarray]


@cache
def weights() -> Weights | None:
    """The arrays of the installed package, by name."""
    spec = find_spec("g2p_en")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(place) / "checkpoint20.npz"
        if path.is_file():
            with np.load(path) as stored:
                return {name: stored[name] for name in stored.files}
    return None


def _step(x: np.ndarray, state: np.ndarray, w: Weights, side: str) -> np.ndarray:
    """One step of a gated recurrent unit; x [256], state [256] -> state [256]."""
    given = w[f"{side}_w_ih"] @ x + w[f"{side}_b_ih"]  # [768]: reset, update, new
    kept = w[f"{side}_w_hh"] @ state + w[f"{side}_b_hh"]
    given_reset, given_update, given_new = np.split(given, 3)
    kept_reset, kept_update, kept_new = np.split(kept, 3)
    reset = 1 / (1 + np.exp(-(given_reset + kept_reset)))
    update = 1 / (1 + np.exp(-(given_update + kept_update)))
    new = np.tanh(given_new + reset * kept_new)
    return (1 - update) * new + update * state


@lru_cache(maxsize=8192)
def guess(word: str) -> tuple[str, ...] | None:
    """Likeliest pronunciation of a word; None without the package."""
    w = weights()
    if w is None:
        return None
    state = np.zeros(w["enc_w_hh"].shape[1], np.float32)
    for letter in [*(_LETTERS.get(c, _UNKNOWN) for c in word), _WORD_END]:
        state = _step(w["enc_emb"][letter], state, w, "enc")
    sounds: list[str] = []
    last = _START
    for _ in range(_LONGEST):
        state = _step(w["dec_emb"][last], state, w, "dec")
        last = int(np.argmax(w["fc_w"] @ state + w["fc_b"]))
        if last == _END:
            break
        if last >= _FIRST_SOUND:
            sounds.append(_SOUNDS[last - _FIRST_SOUND])
    return tuple(sounds)
