"""Pronunciation guessed from spelling, for English words that no lexicon lists.

A joint n-gram model (Bisani & Ney 2008): words are sequences of graphones, pairs of letters
and the sounds that they make; data/spelling.bin.xz holds the n-gram counts of the CMU
dictionary, aligned by expectation maximisation. In: a word of a-z. Out: ARPAbet with
stress, the likeliest sequence found by a beam over the letters, with interpolated absolute
discounting.
"""

from __future__ import annotations

import json
import lzma
import math
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files

BEAM = 24
DISCOUNT = 0.8
_WORD_END = 0
_COUNT_BYTES = 3
_VOWEL_STRESS = "012"


@dataclass
class Model:
    """Counts of graphone sequences; a key is the sequence, two bytes a graphone."""

    order: int
    sounds: list[tuple[str, ...]]
    by_letters: dict[str, list[int]]
    counts: dict[bytes, int]
    totals: dict[bytes, tuple[int, int]]
    memo: dict[tuple[bytes, bytes], float] = field(default_factory=dict)

    def probability(self, history: bytes, graphone: bytes) -> float:
        """P(graphone | history), each order backing off to the next shorter one."""
        known = self.memo.get((history, graphone))
        if known is None:
            known = self._probability(history, graphone)
            self.memo[history, graphone] = known
        return known

    def _probability(self, history: bytes, graphone: bytes) -> float:
        total, kinds = self.totals.get(history, (0, 0))
        lower = 1e-6 if not history else self.probability(history[2:], graphone)
        if not total:
            return lower
        count = self.counts.get(history + graphone, 0)
        return (max(count - DISCOUNT, 0.0) + DISCOUNT * kinds * lower) / total


@cache
def model() -> Model:
    """The shipped model, unpacked on first use."""
    packed = files(__package__).joinpath("data", "spelling.bin.xz").read_bytes()
    content = lzma.decompress(packed)
    head, _, body = content.partition(b"\n")
    header = json.loads(head)
    sounds = [tuple(entry[1].split()) for entry in header["graphones"]]
    by_letters: dict[str, list[int]] = {}
    for index, (letters, _) in enumerate(header["graphones"]):
        by_letters.setdefault(letters, []).append(index)
    counts: dict[bytes, int] = {}
    at = 0
    for length, number in enumerate(header["ngrams"], 1):
        size = 2 * length + _COUNT_BYTES
        columns = [body[at + i * number : at + (i + 1) * number] for i in range(size)]
        for row in map(bytes, zip(*columns, strict=True)):
            counts[row[:-_COUNT_BYTES]] = int.from_bytes(row[-_COUNT_BYTES:], "big")
        at += size * number
    totals: dict[bytes, tuple[int, int]] = {}
    for key, count in counts.items():
        total, kinds = totals.get(key[:-2], (0, 0))
        totals[key[:-2]] = (total + count, kinds + 1)
    return Model(len(header["ngrams"]), sounds, by_letters, counts, totals)


@lru_cache(maxsize=8192)
def guess(word: str) -> tuple[str, ...]:
    """Most likely pronunciation of a lower-case word of a-z; one stressed vowel at least."""
    table = model()
    keep = 2 * (table.order - 1)
    boundary = _WORD_END.to_bytes(2, "big")
    beams: list[dict[bytes, tuple[float, tuple[str, ...]]]] = [{} for _ in range(len(word) + 1)]
    beams[0][boundary] = (0.0, ())
    for at in range(len(word)):
        best = sorted(beams[at].items(), key=lambda item: (-item[1][0], item[0]))[:BEAM]
        for length in (1, 2):
            for index in table.by_letters.get(word[at : at + length], ()):
                if at + length > len(word):
                    continue
                graphone = index.to_bytes(2, "big")
                ahead = beams[at + length]
                for history, (score, sounds) in best:
                    value = score + math.log(table.probability(history, graphone))
                    key = (history + graphone)[-keep:]
                    if key not in ahead or ahead[key][0] < value:
                        ahead[key] = (value, sounds + table.sounds[index])
    ends = [
        (score + math.log(table.probability(history, boundary)), sounds)
        for history, (score, sounds) in beams[-1].items()
    ]
    return _stressed(max(ends)[1]) if ends else ()


def _stressed(sounds: tuple[str, ...]) -> tuple[str, ...]:
    """A word has one primary stress: the first is kept, others become secondary."""
    vowels = [i for i, s in enumerate(sounds) if s[-1] in _VOWEL_STRESS]
    primary = [i for i in vowels if sounds[i][-1] == "1"] or vowels[:1]
    fixed = list(sounds)
    for rank, i in enumerate(primary):
        fixed[i] = sounds[i][:-1] + ("1" if rank == 0 else "2")
    return tuple(fixed)
