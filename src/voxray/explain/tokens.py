"""What the semantic tokens are: do they fall into sounds, and what else do they carry?

In: utterances with known phoneme times. Out: a `TokenCorpus` (one row a token: code, phoneme, speaker,
F0, code vector, MFCC) and figures over it: PNMI, cluster and phone purity (Hsu et al. 2021, HuBERT),
purity of vowel / consonant / silence, ABX error (Schatz et al. 2013), codebook use; each beside the floor
that shuffled codes reach, because PNMI and purity rise with K for trivial reasons; MFCC k-means at equal
K; nearest tokens; maps with their trustworthiness. Distances on a map are no evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .. import audio
from ..bundle import RATE, Bundle
from ..text.inventory import sound
from .statistics import Interval, bootstrap

TOKEN = 0.04  # seconds
MFCC = 13
LEAST_TOKENS = 200

Floats = NDArray[np.floating]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Utterance:
    """Speech [N] with known phonemes: symbols, spans [P, 2] in seconds, and who speaks."""

    wave: NDArray[np.float32]
    rate: int
    symbols: tuple[str, ...]
    spans: Floats
    speaker: str = ""


@dataclass(frozen=True)
class TokenCorpus:
    """One row a token. `supervised`: whether the codes were learnt with phoneme labels."""

    codes: Codes  # [N]
    symbols: NDArray[np.str_]  # [N]
    speakers: NDArray[np.str_]  # [N]
    utterances: Codes  # [N]
    f0: Floats  # [N] Hz, 0: unvoiced
    vectors: Floats  # [N, C], of the codes
    mfcc: Floats  # [N, 39]
    codebook: Floats  # [K, C]
    supervised: bool

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def size(self) -> int:
        """Codes that there are."""
        return len(self.codebook)

    @property
    def kinds(self) -> NDArray[np.str_]:
        """vowel, consonant or silence of each token (a zero onset counts as a vowel)."""
        classes = {"onset": "vowel"}
        found = [sound(symbol).kind for symbol in self.symbols.tolist()]
        return np.asarray([classes.get(kind, kind) for kind in found])


def collect(models: Bundle, utterances: Iterable[Utterance], *, supervised: bool) -> TokenCorpus:
    """Tokens of utterances with what is known of each. Tokens outside all phonemes are silence."""
    rows: dict[str, list[NDArray]] = {name: [] for name in ("c", "s", "who", "u", "f", "m")}
    for number, spoken in enumerate(utterances):
        codes = np.asarray(models.tokens(spoken.wave, spoken.rate), np.int64)
        if len(codes) == 0:
            continue
        count = len(codes)
        rows["c"].append(codes)
        rows["s"].append(np.asarray(symbols_at(spoken, count)))
        rows["who"].append(np.asarray([spoken.speaker] * count))
        rows["u"].append(np.full(count, number))
        track = audio.f0(spoken.wave, spoken.rate, TOKEN)
        rows["f"].append(np.pad(track, (0, max(0, count - len(track))))[:count])
        rows["m"].append(mfcc(spoken.wave, spoken.rate, count))
    if not rows["c"]:
        raise ValueError("no utterance of this corpus is as long as a token")
    codebook = models.quantiser.codebook.float().numpy()
    codes = np.concatenate(rows["c"])
    if len(codes) < LEAST_TOKENS:
        raise ValueError(
            f"{len(codes)} tokens are too few for a figure about tokens: give {LEAST_TOKENS} or more"
        )
    return TokenCorpus(
        codes=codes,
        symbols=np.concatenate(rows["s"]),
        speakers=np.concatenate(rows["who"]),
        utterances=np.concatenate(rows["u"]),
        f0=np.concatenate(rows["f"]),
        vectors=codebook[codes],
        mfcc=np.concatenate(rows["m"]),
        codebook=codebook,
        supervised=supervised,
    )


def symbols_at(spoken: Utterance, tokens: int) -> list[str]:
    """The phoneme under the middle of each token; SP outside all spans."""
    middles = (np.arange(tokens) + 0.5) * TOKEN
    spans = np.asarray(spoken.spans, np.float64).reshape(-1, 2)
    found = ["SP"] * tokens
    for symbol, (begin, end) in zip(spoken.symbols, spans, strict=True):
        for place in np.flatnonzero((middles >= begin) & (middles < end)):
            found[int(place)] = symbol
    return found


def mfcc(wave: NDArray[np.float32], rate: int, tokens: int) -> Floats:
    """13 cepstral coefficients with first and second differences, one row a token [S, 39]."""
    heard = torch.from_numpy(audio.resample(wave, rate, RATE))[None]
    mel = audio.log_mel(heard, RATE, 400, 160, 40)[0].numpy()  # [40, T] every 10 ms
    turns = np.pi / 40 * (np.arange(40) + 0.5)[None] * np.arange(MFCC)[:, None]
    cepstra = (np.cos(turns) @ mel).T  # [T, 13]
    first = np.gradient(cepstra, axis=0)
    both = np.concatenate([cepstra, first, np.gradient(first, axis=0)], axis=1)  # [T, 39]
    per_token = [both[4 * i : 4 * i + 4].mean(0) for i in range(tokens) if 4 * i < len(both)]
    made = np.stack(per_token) if per_token else np.zeros((0, 3 * MFCC))
    return np.pad(made, ((0, tokens - len(made)), (0, 0)), mode="edge")


# --- figures ---------------------------------------------------------------------------------


def joint(codes: Codes, labels: Sequence[str] | NDArray) -> Floats:
    """Counts [codes, labels]; rows and columns that never occur are left out."""
    _, rows = np.unique(np.asarray(codes), return_inverse=True)
    _, columns = np.unique(np.asarray(labels), return_inverse=True)
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(table, (rows, columns), 1.0)
    return table


def _entropy(probabilities: Floats) -> float:
    kept = probabilities[probabilities > 0]
    return float(-(kept * np.log(kept)).sum())


def pnmi(codes: Codes, labels: Sequence[str] | NDArray) -> float:
    """I(code; phone) / H(phone): the share of the phone's uncertainty that the code removes."""
    table = joint(codes, labels)
    table /= table.sum()
    phones = _entropy(table.sum(0))
    if phones == 0:
        raise ValueError("all tokens have one label: there is nothing to know")
    return (phones + _entropy(table.sum(1)) - _entropy(table.ravel())) / phones


def phone_purity(codes: Codes, labels: Sequence[str] | NDArray) -> float:
    """How often a token's phone is the commonest one of its code."""
    table = joint(codes, labels)
    return float(table.max(1).sum() / table.sum())


def cluster_purity(codes: Codes, labels: Sequence[str] | NDArray) -> float:
    """How often a token's code is the commonest one of its phone."""
    table = joint(codes, labels)
    return float(table.max(0).sum() / table.sum())


def codebook_use(codes: Codes, size: int) -> float:
    """Share of the codes that occur at all."""
    return len(np.unique(codes)) / size


def perplexity(codes: Codes) -> float:
    """How many codes are in use, rare ones counting less."""
    _, counts = np.unique(codes, return_counts=True)
    return float(np.exp(_entropy(counts / counts.sum())))


def floor(
    measure: Callable[[Codes, NDArray], float], codes: Codes, labels: NDArray, seed: int = 0
) -> float:
    """The same figure for shuffled codes: what chance and the size of the sample give."""
    return measure(np.random.default_rng(seed).permutation(codes), labels)


def over_utterances(
    measure: Callable[[Codes, NDArray], float],
    corpus: TokenCorpus,
    labels: NDArray,
    draws: int = 50,
) -> Interval:
    """A figure with its interval over utterances, drawn whole.

    Drawing utterances twice raises PNMI and purity by itself, so the draws are centred on the value.
    """
    value = measure(corpus.codes, labels)
    members = [np.flatnonzero(corpus.utterances == u) for u in np.unique(corpus.utterances)]
    dice = np.random.default_rng(0)
    made = []
    for _ in range(draws):
        rows = np.concatenate([members[i] for i in dice.integers(0, len(members), len(members))])
        made.append(measure(corpus.codes[rows], labels[rows]))
    low, high = np.quantile(np.asarray(made) - np.mean(made) + value, [0.025, 0.975])
    return Interval(value, float(low), float(high), len(members))


def kmeans(vectors: Floats, size: int, *, rounds: int = 15, seed: int = 0) -> tuple[Codes, Floats]:
    """k-means (Lloyd, k-means++ start) on vectors [N, C], standardised: codes [N] and centres [K, C]."""
    if len(vectors) < size:
        raise ValueError(f"{len(vectors)} vectors cannot make {size} clusters")
    data = torch.from_numpy(np.asarray(vectors, np.float32))
    data = (data - data.mean(0)) / data.std(0).clamp_min(1e-6)
    dice = torch.Generator().manual_seed(seed)
    centres = _far_apart(data[torch.randperm(len(data), generator=dice)[: 10 * size]], size, dice)
    codes = torch.zeros(len(data), dtype=torch.long)
    for _ in range(rounds):
        codes = torch.cat([torch.cdist(part, centres).argmin(1) for part in data.split(8192)])
        count = torch.bincount(codes, minlength=size).float()
        total = torch.zeros_like(centres).index_add_(0, codes, data)
        live = count > 0
        centres[live] = total[live] / count[live, None]
        spare = torch.randint(len(data), (int((~live).sum()),), generator=dice)
        centres[~live] = data[spare]
    return codes.numpy(), centres.numpy()


def _far_apart(data: torch.Tensor, size: int, dice: torch.Generator) -> torch.Tensor:
    """Starts [K, C] drawn by their squared distance to those drawn before (k-means++)."""
    chosen = [data[0]]
    away = (data - chosen[0]).square().sum(1)
    for _ in range(size - 1):
        place = int(torch.multinomial(away.clamp_min(1e-12), 1, generator=dice))
        chosen.append(data[place])
        away = torch.minimum(away, (data - chosen[-1]).square().sum(1))
    return torch.stack(chosen)


def abx(vectors: Floats, corpus: TokenCorpus, *, triples: int = 2000, seed: int = 0) -> Interval:
    """ABX error over phones, across speakers: A and X are one phone by two speakers, B another by A's.

    Segments are runs of one phone in one utterance, their vectors averaged; distance is the angle.
    """
    segments = _segments(vectors, corpus)
    by_phone: dict[str, list[int]] = {}
    for number, (symbol, _, _) in enumerate(segments):
        by_phone.setdefault(symbol, []).append(number)
    phones = [phone for phone, members in by_phone.items() if len(members) >= 2]
    if len(phones) < 2:
        raise ValueError("ABX needs two phones or more that occur twice")
    units = np.stack([vector for _, _, vector in segments])
    units = units / np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-9)
    dice = np.random.default_rng(seed)
    errors = []
    for _ in range(20 * triples):
        one, other = dice.choice(len(phones), 2, replace=False)
        a, x = dice.choice(by_phone[phones[one]], 2, replace=False)
        b = dice.choice(by_phone[phones[other]])
        if segments[a][1] == segments[x][1] or segments[a][1] != segments[b][1]:
            continue
        near, far = units[a] @ units[x], units[b] @ units[x]
        errors.append(0.5 if near == far else float(far > near))
        if len(errors) == triples:
            break
    if len(errors) < 50:
        raise ValueError("too few speakers share phones: ABX across speakers cannot be formed")
    return bootstrap(errors, draws=300)


def _segments(vectors: Floats, corpus: TokenCorpus) -> list[tuple[str, str, Floats]]:
    found: list[tuple[str, str, Floats]] = []
    begin = 0
    for place in range(1, len(corpus) + 1):
        same = (
            place < len(corpus)
            and corpus.symbols[place] == corpus.symbols[begin]
            and corpus.utterances[place] == corpus.utterances[begin]
        )
        if not same:
            if sound(str(corpus.symbols[begin])).kind != "silence":
                mean = vectors[begin:place].mean(0)
                found.append((str(corpus.symbols[begin]), str(corpus.speakers[begin]), mean))
            begin = place
    return found


def nearest(codebook: Floats, token: int, most: int = 5) -> list[tuple[int, float]]:
    """The codes most like one, with their cosine."""
    if not 0 <= token < len(codebook):
        raise ValueError(f"token {token} is not one of 0 .. {len(codebook) - 1}")
    units = codebook / np.maximum(np.linalg.norm(codebook, axis=1, keepdims=True), 1e-9)
    likeness = units @ units[token]
    order = [int(i) for i in np.argsort(-likeness, kind="stable") if i != token]
    return [(i, float(likeness[i])) for i in order[:most]]


def profile(corpus: TokenCorpus, token: int) -> dict[str, float]:
    """The phones that a code stands for, with their shares, the commonest first."""
    symbols, counts = np.unique(corpus.symbols[corpus.codes == token], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {str(symbols[i]): float(counts[i] / counts.sum()) for i in order}


@dataclass(frozen=True)
class TokenMap:
    """Codes on a plane; `trustworthiness` says how far neighbours are neighbours (k = 15)."""

    codes: Codes  # [M], those drawn
    places: Floats  # [M, 2]
    labels: tuple[str, ...]  # commonest class of each code
    trustworthiness: float
    method: str


def token_map(
    corpus: TokenCorpus, labels: NDArray, *, method: str = "tsne", least: int = 3, seed: int = 0
) -> TokenMap:
    """The code vectors of codes seen `least` times, on a plane, coloured by their commonest label."""
    codes, counts = np.unique(corpus.codes, return_counts=True)
    codes = codes[counts >= least]
    if len(codes) < 20:
        raise ValueError(f"only {len(codes)} codes occur {least} times: too few for a map")
    vectors = corpus.codebook[codes]
    owners = []
    for code in codes:
        names, votes = np.unique(labels[corpus.codes == code], return_counts=True)
        owners.append(str(names[votes.argmax()]))
    places, trust = embed(vectors, method=method, seed=seed)
    return TokenMap(codes, places, tuple(owners), trust, method)


def embed(vectors: Floats, *, method: str = "tsne", seed: int = 0) -> tuple[Floats, float]:
    """Vectors [M, C] -> places [M, 2] by t-SNE or UMAP, and the map's trustworthiness (k = 15)."""
    from sklearn.manifold import TSNE, trustworthiness

    if method == "tsne":
        perplex = min(30.0, (len(vectors) - 1) / 3)
        places = TSNE(2, perplexity=perplex, init="pca", random_state=seed).fit_transform(vectors)
    elif method == "umap":
        from umap import UMAP  # extra `explain-umap`

        near = min(15, len(vectors) - 1)
        places = UMAP(n_neighbors=near, random_state=seed, n_jobs=1).fit_transform(vectors)
    else:
        raise ValueError(f"no map {method!r}; there are: tsne, umap")
    near = min(15, (len(vectors) - 1) // 2)
    return np.asarray(places), float(trustworthiness(vectors, places, n_neighbors=near))
