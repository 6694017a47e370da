"""How small may it be? Pruned, distilled and 8-bit models: size, speed, word errors, similarity.

    python benchmarks/compress.py --quick                            # few texts, few steps: does it run
    python benchmarks/compress.py --store runs/data --student DIR    # a corpus, and a student taught before
    python benchmarks/compress.py --store DIR --held DIR --keep rows.jsonl --json out.json   # resumes

Heads are taken by what ablating them costs (critical paths; one after another, each with those before it gone), by the
gradient, by the norm of their weights and at random (three draws), 30 % each; what the taken ones say in the mean goes
into a bias, in every order. Pruned models are saved and loaded before they are measured, and speeds are taken in
turns with the whole model's. Goals: pruned by effect: word errors at most one point above the whole model, similarity
>= 0.97 of its, and fewer nats a token than the other orders; student: three times the tokens a second, at most 5 %
more nats a token, at most two points more word errors. Differences are paired by text, with 95 % bootstrap intervals. Without a corpus the GPT's own speech is what is measured and learnt on.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import comparing
import numpy as np
import torch
import torch.nn.functional as F
import typer
from quality import TEXTS

from voxray.bundle import Bundle
from voxray.compress import pruning, ranking, student
from voxray.compress.student import Draw, StudentTraining
from voxray.config import StudentConfig
from voxray.evaluate import sets
from voxray.evaluate.named import NamedJudges
from voxray.packaged import BUILTIN
from voxray.train.gpt import IGNORE
from voxray.voice import Voice, builtin_names

SHARE, POINTS, KEPT = 0.3, 1.0, 0.97
FASTER, NATS, STUDENT_POINTS = 3.0, 1.05, 2.0
TURNS = 5  # of timing
BEST = "pruned by effect"


@dataclass(frozen=True)
class Row:
    """One model. `millions` of parameters of the GPT stage, `nll` in nats a held-out token with all of the text in
    sight, `watched` through the window of the guided heads, as it speaks; of each text its errors, words and
    similarity to the voice.
    """

    name: str
    gone: float
    millions: float
    tokens_a_second: float
    nll: float
    errors: list[int]
    words: list[int]
    near: list[float]
    watched: float = float("nan")
    faster: float = 1.0  # times the whole model's tokens a second

    @property
    def error(self) -> float:
        """Word errors in percent."""
        return 100.0 * sum(self.errors) / max(1, sum(self.words))

    @property
    def similarity(self) -> float:
        """Mean over texts, both judges."""
        return float(np.mean(self.near))


def speed(bundle: Bundle, seconds: float) -> float:
    """Tokens a second of processor time of the GPT stage alone, fed step by step."""
    ids = torch.arange(1, 41)[None]
    with torch.inference_mode():
        _, cache = bundle.gpt.prefill(ids, torch.tensor([40]))
        token, count, began = torch.tensor([5]), 0, time.process_time()
        while time.process_time() - began < seconds or count < 20:
            bundle.gpt.step(token, cache)
            count += 1
            if count % 400 == 0:
                _, cache = bundle.gpt.prefill(ids, torch.tensor([40]))
    return count / (time.process_time() - began)


def speeds(whole: Bundle, small: Bundle, seconds: float) -> tuple[float, float]:
    """Tokens a second of a smaller model and how many times the whole one's: medians of turns that both take, one after the other,
    since what else the machine does slows whoever is on.
    """
    turns = [(speed(whole, seconds / TURNS), speed(small, seconds / TURNS)) for _ in range(TURNS)]
    rates, times = [b for _, b in turns], [b / a for a, b in turns]
    return float(np.median(rates)), 1.0 if small is whole else float(np.median(times))


@dataclass(frozen=True)
class Bench:
    """What every model is measured with."""

    texts: list[tuple[str, str]]
    voice: Voice
    ear: comparing.Ear
    judges: NamedJudges
    held: Draw
    batches: int
    seconds: float
    whole: Bundle

    def row(self, name: str, bundle: Bundle, gone: float, millions: float) -> Row:
        """Everything of one model."""
        said = comparing.speak(self.texts, self.voice, bundle, self.judges, self.ear, rated=False)
        near = [float(np.mean(list(one.values()))) for one in said.similarity]
        nll, watched = (
            student.token_nll(bundle.gpt, self.held, self.batches, window=window)
            for window in (False, True)
        )
        rate, times = speeds(self.whole, bundle, self.seconds)
        return Row(name, gone, millions, rate, nll, said.errors, said.words, near, watched, times)


def loss(gpt: Any, rows: list[torch.Tensor]) -> torch.Tensor:
    """Token cross-entropy of padded rows [ids, lengths, tokens, targets]."""
    logits = gpt(rows[0], rows[1], rows[2])
    return F.cross_entropy(logits.flatten(0, 1).float(), rows[3].flatten(), ignore_index=IGNORE)


def orders(
    bundle: Bundle, draw: Draw, batches: int, count: int, keep: Path | None
) -> list[ranking.Ranking]:  # fmt: skip
    """All orders to prune `count` heads by, with the heads' means; those that take minutes are kept beside the rows."""
    given = []
    for n in range(batches):
        b = student.batch(draw, 8, bundle.gpt.end, np.random.default_rng((9, n)))
        given.append([b.ids, b.lengths, b.tokens, b.targets])
    gpt, spared = bundle.gpt, bundle.gpt.config.guided_heads
    slow = {
        "effect": lambda: ranking.by_effect(gpt, given, loss, count, spared),
        "gradient": lambda: ranking.by_gradient(gpt, given, loss),
    }
    made = []
    for name, measure in slow.items():
        path = keep and keep.with_suffix(f".by_{name}_{count}.json")
        if path is not None and path.is_file():
            made.append(ranking.Ranking.load(path))
            continue
        made.append(measure())
        if path is not None:
            made[-1].save(path)
    made += [ranking.by_magnitude(gpt), *(ranking.by_chance(gpt, seed) for seed in range(3))]
    means = made[0].means  # by effect
    return [replace(order, means=means) for order in made]


def more_errors(row: Row, whole: Row) -> tuple[float, float, float]:
    """Points of word errors more than the whole model, with a 95 % interval over texts."""
    words = sum(whole.words) / len(whole.words)
    points = [100 * (b - a) / words for a, b in zip(whole.errors, row.errors, strict=True)]
    return comparing.paired([0.0] * len(points), points)


def more_nats(row: Row, whole: Row) -> float:
    """Times the whole model's nats a token, the worse of without and through the window."""
    return float(np.nanmax([row.nll / whole.nll, row.watched / whole.watched]))


def verdicts(rows: list[Row]) -> list[tuple[str, str, str, bool]]:
    """(what, goal, figure, met) of the models that were measured."""
    named = {row.name: row for row in rows}
    whole, best, small = named["whole"], named.get(BEST), named.get("student")
    made = []
    if best is not None:
        others = [r for r in rows if r.name.startswith("pruned") and r is not best]
        ratio, (gap, low, high) = best.similarity / whole.similarity, more_errors(best, whole)
        made += [
            ("pruned: share of heads gone", f">= {SHARE}", f"{best.gone:.2f}", best.gone >= SHARE - 0.02),
            ("pruned: word errors", f"<= +{POINTS:.0f}", f"{gap:+.1f} [{low:+.1f}, {high:+.1f}]", gap <= POINTS),
            ("pruned: similarity kept", f">= {KEPT}", f"{ratio:.2f}", ratio >= KEPT),
            ("pruned: nats a token, below all other orders", "lowest", f"{best.nll:.3f}",
             all(best.nll <= r.nll for r in others)),
        ]  # fmt: skip
    if small is not None:
        faster, nats = small.faster, more_nats(small, whole)
        gap, low, high = more_errors(small, whole)
        made += [
            ("student: times the tokens a second", f">= {FASTER:.0f}", f"{faster:.1f}", faster >= FASTER),
            ("student: nats a token", f"<= {NATS:.2f} x", f"{nats:.2f} x", nats <= NATS),
            ("student: word errors", f"<= +{STUDENT_POINTS:.0f}", f"{gap:+.1f} [{low:+.1f}, {high:+.1f}]",
             gap <= STUDENT_POINTS),
        ]  # fmt: skip
    return made


def claim(rows: list[Row]) -> dict[str, Any] | None:
    """What decides "an LSTM student costs little": the room left below two more word errors in a hundred, and
    below 5 % more nats a token; both must hold.
    """
    named = {row.name: row for row in rows}
    if "student" not in named:
        return None
    whole, small = named["whole"], named["student"]
    gap, low, high = more_errors(small, whole)
    count = len(whole.errors)
    room = {
        "value": STUDENT_POINTS - gap,
        "low": STUDENT_POINTS - high,
        "high": STUDENT_POINTS - low,
    }
    nats = NATS - more_nats(small, whole)
    second = {"value": nats, "low": nats, "high": nats}  # thousands of tokens: no interval
    return {
        "figure": room | {"count": count},
        "second": second | {"count": count},
        "note": f"room left: points of word errors, share of nats; {small.faster:.1f} times the tokens a second",
    }


def table(rows: list[Row]) -> str:
    """One row a model."""
    lines = [
        "| model | heads gone | M parameters | tokens/s | times the whole's | nats a token | through the window | errors % "
        "| more than the whole [95 %] | similarity |",
        "|" + "---|" * 10,
    ]
    whole = rows[0]
    for r in rows:
        gap, low, high = more_errors(r, whole)
        lines.append(
            f"| {r.name} | {100 * r.gone:.0f} % | {r.millions:.2f} | {r.tokens_a_second:.0f} | {r.faster:.2f} "
            f"| {r.nll:.3f} | {r.watched:.3f} | {r.error:.1f} | {gap:+.1f} [{low:+.1f}, {high:+.1f}] | {r.similarity:.3f} |"
        )
    return "\n".join(lines)


def learnt_and_held(
    bundle: Bundle, voice: Voice, store: Path | None, held: Path | None, config: StudentTraining,
    quick: bool,
) -> tuple[Draw, Draw]:  # fmt: skip
    """Rows to learn on and others to measure on: of corpora, or of the GPT's own speech."""
    if store is None:
        lines = [line.text for line in sets.read_texts(TEXTS / "en.tsv") if line.kind == "sentence"]
        rows = student.spoken_rows(bundle, lines[40 : 44 if quick else 140], voice, seed=100)
        cut = max(1, len(rows) // 5)
        return student.drawn_from(rows[cut:]), student.drawn_from(rows[:cut])
    draw = student.rows_from_store(store, "train", config)
    if held is None:
        return draw, student.rows_from_store(store, "dev", config)
    return draw, student.rows_from_store(held, "test", config)


def voice_heard(bundle: Bundle, voice: Voice, text: str, judges: NamedJudges) -> comparing.Ear:
    """The whole model's voice as the judges hear it, from a sentence with another seed."""
    made = comparing.tts(text, voice, model=bundle, seed=9, takes=1)
    heard = comparing.audio.resample(made.audio, made.sample_rate, sets.RATE)
    mean = comparing.embedded([heard], judges)
    return comparing.Ear(mean, dict.fromkeys(mean, 1.0), dict.fromkeys(mean, 0.0))


def candidates(
    bundle: Bundle,
    home: Path,
    draw: Draw,
    batches: int,
    keep: Path | None,
    teach: Callable[[], Bundle],
) -> Iterator[tuple[str, float, Callable[[], Bundle]]]:
    """(name, share of heads gone, how it is made) of every smaller model; the student last."""
    count = round(SHARE * len(ranking.all_heads(bundle.gpt)))

    def without(order: ranking.Ranking) -> Bundle:
        heads = order.worst(count, bundle.gpt.config.guided_heads)
        small = pruning.pruned(bundle, heads, means=order.means)
        small.config = bundle.config.model_copy(
            update={"gpt": small.gpt.config}  # the voice's model keeps its name
        )
        with tempfile.TemporaryDirectory() as folder:  # as it is used: packed, its step recorded
            small.save(Path(folder) / "small")
            return Bundle.load(Path(folder) / "small", precision="float32")

    yield "whole", 0.0, lambda: bundle
    yield "8 bits", 0.0, lambda: Bundle.load(home, precision="int8")
    for order in orders(bundle, draw, batches, count, keep):
        small = without(order)
        gone = pruning.share_gone(bundle.gpt, small.gpt)
        yield f"pruned by {order.by}", gone, lambda small=small: small
    yield "student", 0.0, teach


def run(
    bench: Bench, found: Iterator[tuple[str, float, Callable[[], Bundle]]], kept: comparing.Kept[Row],
    skip: str,
) -> None:  # fmt: skip
    """Measure every model that was not measured before."""
    for name, gone, make in found:
        if kept.has(name=name) or name == skip:
            continue
        small = make()
        millions = pruning.parameters(small.gpt) / 1e6
        if name == "8 bits":  # packed weights are no parameters
            millions = kept.rows[0].millions
        print(kept(bench.row(name, small, gone, millions)), flush=True)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Few texts, few steps.")] = False,
    out: Annotated[Path | None, typer.Option("--json", help="All figures.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Rows, as they come; resumes.")] = None,
    model: Annotated[Path | None, typer.Option(help="A model's folder.")] = None,
    store: Annotated[Path | None, typer.Option(help="A prepared corpus.")] = None,
    held: Annotated[Path | None, typer.Option(help="Another, to measure on: split test.")] = None,
    taught: Annotated[
        Path | None, typer.Option("--student", help="A student taught before.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Of a student taught here; 0: no student.")] = 1500,
    texts: Annotated[int, typer.Option(help="Sentences that every model says.")] = 40,
    batches: Annotated[int, typer.Option(help="Of 8 rows, to rank heads and to score on.")] = 8,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
) -> None:
    """Measure every smaller model."""
    torch.set_num_threads(threads)
    home = model or BUILTIN / "mini"
    bundle, judges = Bundle.load(home, precision="float32"), NamedJudges(threads=threads)
    voice = Voice.builtin(builtin_names()[0])
    config = StudentTraining(model=StudentConfig(), steps=3 if quick else max(1, steps))
    config = config.model_copy(update={"batch": 2}) if quick else config
    draw, other = learnt_and_held(bundle, voice, store, held, config, quick)

    def teach() -> Bundle:
        if taught is not None:
            return Bundle.load(taught, precision="float32")
        with tempfile.TemporaryDirectory() as folder:
            return student.teach(bundle, draw, other, Path(folder), config)

    lines = [line for line in sets.read_texts(TEXTS / "en.tsv") if line.kind == "sentence"]
    said = [(line.text, "en") for line in lines[: 2 if quick else texts]]
    count = 1 if quick else batches
    ear = voice_heard(bundle, voice, said[0][0], judges)
    bench = Bench(said, voice, ear, judges, other, count, 0.5 if quick else 10.0, bundle)
    what = f"weights {comparing.weights_of([home])}, {len(said)} texts, {count} batches"
    kept = comparing.Kept(keep, Row, what)
    run(bench, candidates(bundle, home, draw, count, keep, teach), kept, "" if steps else "student")
    report(kept.rows, what, home, out, quick)


def picture(rows: list[Row]) -> Any:
    """Word errors against tokens a second, and nats a held-out token through the window, by model."""

    def plot(figure: Any) -> None:
        left = figure.add_subplot(
            1, 2, 1, xlabel="times the whole model's tokens a second", ylabel="words misheard, %"
        )
        right = figure.add_subplot(1, 2, 2, xlabel="nats a held-out token")
        for row in rows:
            left.plot(row.faster, row.error, "o", label=row.name)
        left.legend(fontsize="small")
        places = range(len(rows))
        right.plot([row.nll for row in rows], places, "o", label="all of the text in sight")
        right.plot([row.watched for row in rows], places, "s", label="through the window")
        right.set_yticks(places, [row.name for row in rows])
        right.legend(fontsize="small")

    return plot


def report(rows: list[Row], what: str, home: Path, out: Path | None, quick: bool) -> None:
    """Tables; exit 1 where a goal was missed."""
    goals = verdicts(rows)
    head = "| measure | goal | figure | met |\n|---|---|---|---|\n"
    parts = {
        "Goals": head
        + "\n".join(f"| {w} | {g} | {f} | {'yes' if m else '**no**'} |" for w, g, f, m in goals),
        "Models": table(rows),
    }
    record = {
        "rows": [asdict(r) for r in rows], "weights": comparing.weights_of([home]), "quick": quick,
        "claims": {"An LSTM student costs little": claim(rows)}, "facts": {"what": what},
    }  # fmt: skip
    comparing.finish("Smaller models", "compress", parts, record, out, quick, picture(rows))
    if not quick and not all(met for *_, met in goals):
        raise typer.Exit(1)


if __name__ == "__main__":
    sys.exit(comparing.run(main, "compress"))
