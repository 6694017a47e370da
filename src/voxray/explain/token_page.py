"""One page about a model's tokens: figures, maps in several colours, neighbours, players, speakers.

In: a model and utterances with known or aligned phonemes. Out: `TokenReport`, saved as a page (no
network, at most 3 MB) or JSON. Maps are illustration and print their trustworthiness; what counts are the
figures in the original space, each beside what shuffled codes and MFCC k-means at equal K reach.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from .. import __version__
from ..bundle import Bundle
from ..engine import tts
from ..sites import attach
from ..synthesis import Synthesis
from ..text.inventory import sound
from ..voice import Voice
from . import tokens
from .figures import WIDTH, escape
from .page import audio_uri
from .report import LIMIT_BYTES, write
from .statistics import Interval
from .tokens import TokenCorpus, TokenMap, Utterance

PLAYERS = 12
HELD_TOKENS = 12  # how long one token is held to be heard: half a second
CERTAIN = 1e4  # a logit that no other can beat
PALETTE = ("#3a7ae0", "#d08a1d", "#b8506a", "#3f9c72", "#8a63c9", "#7d8590", "#c9573a", "#2d9db0")
COLOURS = ("class", "voicing", "aspiration", "tone", "pitch", "speaker")


def colours_of(corpus: TokenCorpus) -> dict[str, NDArray[np.str_]]:
    """What each token is, seen in several ways; pitch in thirds of the corpus."""
    sounds = [sound(str(symbol)) for symbol in corpus.symbols]
    voiced = corpus.f0 > 0
    low, high = np.quantile(corpus.f0[voiced], [1 / 3, 2 / 3]) if voiced.any() else (0.0, 0.0)
    height = np.where(corpus.f0 <= low, "low", np.where(corpus.f0 <= high, "middle", "high"))
    return {
        "class": corpus.kinds,
        "voicing": np.asarray(["voiced" if s.voiced else "voiceless" for s in sounds]),
        "aspiration": np.asarray(
            [
                "aspirated" if s.aspirated else s.kind if s.kind != "consonant" else "not"
                for s in sounds
            ]
        ),
        "tone": np.asarray([f"tone {s.tone}" if s.tone else "none" for s in sounds]),
        "pitch": np.where(voiced, height, "unvoiced"),
        "speaker": corpus.speakers,
    }


@dataclass(frozen=True)
class TokenReport:
    """Figures, maps and sounds of a model's tokens."""

    model: str
    corpus: TokenCorpus
    figures: dict[str, tuple[float | Interval, float | None, float | None]]  # value, floor, MFCC
    maps: list[tuple[str, TokenMap]]  # colour, map
    speakers: tuple[NDArray[np.floating], float, tuple[str, ...]] | None  # places, trust, names
    players: list[tuple[int, Synthesis]]

    def save(self, path: str | Path) -> None:
        """Write the page (.html) or the numbers (.json), whole or not at all."""
        target = Path(path)
        if target.suffix == ".json":
            write(target, json.dumps(self.to_json(), ensure_ascii=False, indent=1))
            return
        if target.suffix not in (".html", ".htm"):
            raise ValueError(f"a report's name ends in .html or .json, not {target.name!r}")
        text = _page(self)
        if len(text.encode()) > LIMIT_BYTES:
            raise ValueError("the page would have more than 3 MB: give fewer recordings")
        write(target, text)

    def to_json(self) -> dict[str, object]:
        """Every number."""
        return {
            "model": self.model,
            "supervised": self.corpus.supervised,
            "tokens": len(self.corpus),
            "figures": {
                name: {
                    "value": v.to_json() if isinstance(v, Interval) else v,
                    "shuffled": f,
                    "mfcc": m,
                }
                for name, (v, f, m) in self.figures.items()
            },
            "maps": [
                {
                    "colour": colour,
                    "method": made.method,
                    "trustworthiness": made.trustworthiness,
                    "codes": made.codes.tolist(),
                    "places": np.round(made.places, 3).tolist(),
                    "labels": list(made.labels),
                }
                for colour, made in self.maps
            ],
        }


def token_report(
    models: Bundle,
    utterances: Iterable[Utterance],
    *,
    supervised: bool = True,
    method: str = "tsne",
    voice: Voice | str | None = None,
    seed: int = 0,
) -> TokenReport:
    """Measure and draw a model's tokens; `voice` lends its sound to the players (None: no players)."""
    spoken = list(utterances)
    corpus = tokens.collect(models, spoken, supervised=supervised)
    views = colours_of(corpus)
    return TokenReport(
        models.name,
        corpus,
        measured(corpus),
        _maps(corpus, views, method, seed),
        _speaker_map(models, spoken, method, seed),
        [] if voice is None else [(c, say_token(models, c, voice)) for c in _common(corpus)],
    )


def measured(corpus: TokenCorpus) -> dict[str, tuple[float | Interval, float | None, float | None]]:
    """Each figure, what shuffled codes give, and what MFCC k-means gives at as many clusters."""
    used = len(np.unique(corpus.codes))
    simple, _ = tokens.kmeans(corpus.mfcc, min(used, len(corpus) // 4))
    made: dict[str, tuple[float | Interval, float | None, float | None]] = {}
    wanted: list[tuple[str, Callable[..., float], NDArray]] = [
        ("PNMI", tokens.pnmi, corpus.symbols),
        ("phone purity", tokens.phone_purity, corpus.symbols),
        ("cluster purity", tokens.cluster_purity, corpus.symbols),
        ("vowel / consonant / silence purity", tokens.phone_purity, corpus.kinds),
    ]
    for name, measure, labels in wanted:
        figure = tokens.over_utterances(measure, corpus, labels)
        made[name] = figure, tokens.floor(measure, corpus.codes, labels), measure(simple, labels)
    made["codebook use"] = tokens.codebook_use(corpus.codes, corpus.size), None, None
    made["perplexity"] = tokens.perplexity(corpus.codes), None, tokens.perplexity(simple)
    return made


def _maps(
    corpus: TokenCorpus, views: dict[str, NDArray[np.str_]], method: str, seed: int
) -> list[tuple[str, TokenMap]]:
    from dataclasses import replace

    first = tokens.token_map(corpus, views["class"], method=method, seed=seed)
    made = [("class", first)]
    for colour in COLOURS[1:]:
        owners = tuple(_commonest(views[colour][corpus.codes == code]) for code in first.codes)
        made.append((colour, replace(first, labels=owners)))
    return made


def _commonest(labels: NDArray[np.str_]) -> str:
    return Counter(labels.tolist()).most_common(1)[0][0]


def _speaker_map(
    models: Bundle, spoken: Sequence[Utterance], method: str, seed: int
) -> tuple[NDArray[np.floating], float, tuple[str, ...]] | None:
    """Speaker vectors of the recordings on a plane; None where they are too few."""
    if len(spoken) < 8:
        return None
    vectors = np.stack([models.speaker_vector(u.wave, u.rate).numpy() for u in spoken])
    places, trust = tokens.embed(vectors, method=method, seed=seed)
    return places, trust, tuple(u.speaker for u in spoken)


def _common(corpus: TokenCorpus) -> list[int]:
    """The codes that are used most, one for each phone that they stand for."""
    codes, counts = np.unique(corpus.codes, return_counts=True)
    chosen: dict[str, int] = {}
    for code in codes[np.argsort(-counts, kind="stable")].tolist():
        phone = next(iter(tokens.profile(corpus, code)))
        if sound(phone).kind != "silence":
            chosen.setdefault(phone, code)
    return list(chosen.values())[:PLAYERS]


def say_token(models: Bundle, token: int, voice: Voice | str, *, seed: int = 0) -> Synthesis:
    """What one token sounds like: held for half a second, said through the engine."""
    if not 0 <= token < models.gpt.end:
        raise ValueError(f"token {token} is not one of 0 .. {models.gpt.end - 1}")

    def only(logits: torch.Tensor) -> torch.Tensor:
        forced = torch.zeros_like(logits)
        forced[..., token] = CERTAIN
        return forced

    with attach(models.gpt, {"logits": only}):
        return tts("ah", voice, model=models, seed=seed, watch=None, style=False,
                   max_tokens=HELD_TOKENS, repetition_penalty=1.0)  # fmt: skip


# --- the page ----------------------------------------------------------------------------------


def _page(report: TokenReport) -> str:
    parts = {
        "model": escape(report.model),
        "tokens": str(len(report.corpus)),
        "warning": (
            "These tokens were learnt with phoneme labels: that they name phones is how they were made."
            if report.corpus.supervised
            else "These tokens were learnt without labels."
        ),
        "figures": _figures(report),
        "maps": "".join(_map_figure(colour, made) for colour, made in report.maps),
        "speakers": _speakers(report),
        "players": _players(report),
        "version": escape(__version__),
    }
    text = resources.files(__package__ or "").joinpath("token_template.html").read_text("utf-8")
    for name, part in parts.items():
        text = text.replace("{{" + name + "}}", part)
    return text


def _figures(report: TokenReport) -> str:
    rows = []
    for name, (value, low, simple) in report.figures.items():
        others = "".join(f"<td>{'-' if v is None else f'{v:.3f}'}</td>" for v in (low, simple))
        shown = value if isinstance(value, Interval) else f"{value:.3f}"
        rows.append(f"<tr><td>{escape(name)}</td><td>{escape(shown)}</td>{others}</tr>")
    return "".join(rows)


def scatter_svg(
    places: NDArray[np.floating], labels: Sequence[str], names: Sequence[str], title: str
) -> str:
    """Points coloured by label, each with a name to hover over; the commonest labels get colours."""
    shown = [label for label, _ in Counter(labels).most_common(len(PALETTE))]
    low, high = places.min(0), places.max(0)
    at = (places - low) / np.maximum(high - low, 1e-9)
    height = WIDTH * 0.72
    dots = "".join(
        f'<circle cx="{12 + x * (WIDTH - 24):.0f}" cy="{12 + y * (height - 24):.0f}" r="7" '
        f'fill="{PALETTE[shown.index(label)] if label in shown else "#9a9a9a"}">'
        f"<title>{escape(name)}: {escape(label)}</title></circle>"
        for (x, y), label, name in zip(at.tolist(), labels, names, strict=True)
    )
    key = "".join(
        f'<span><i style="background:{PALETTE[number]}"></i>{escape(label)}</span>'
        for number, label in enumerate(shown)
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">{dots}</svg>'
        f'<p class="key">{key}</p>'
    )


def _map_figure(colour: str, made: TokenMap) -> str:
    names = [f"token {code}" for code in made.codes.tolist()]
    picture = scatter_svg(made.places, made.labels, names, f"Map of the codes by {colour}")
    return (
        f"<figure><figcaption><b>{escape(colour)}</b> · {escape(made.method)}, trustworthiness "
        f"{made.trustworthiness:.3f}</figcaption>{picture}</figure>"
    )


def _speakers(report: TokenReport) -> str:
    if report.speakers is None:
        return "<p>Too few recordings for a map of speakers.</p>"
    places, trust, names = report.speakers
    picture = scatter_svg(
        places, names, [f"recording {i}" for i in range(len(names))], "Map of speakers"
    )
    return f"<figure><figcaption>speaker vectors, trustworthiness {trust:.3f}</figcaption>{picture}</figure>"


def _players(report: TokenReport) -> str:
    rows = []
    for code, made in report.players:
        stands = list(tokens.profile(report.corpus, code).items())[:3]
        near = tokens.nearest(report.corpus.codebook, code, 3)
        rows.append(
            f'<tr><td>{code}</td><td><audio controls preload="none" src="{audio_uri(made)}"></audio></td>'
            f"<td>{escape(', '.join(f'{phone} {share:.0%}' for phone, share in stands))}</td>"
            f"<td>{escape(', '.join(f'{other} ({cosine:.2f})' for other, cosine in near))}</td></tr>"
        )
    return "".join(rows) or '<tr><td colspan="4">No voice was given to say them.</td></tr>'
