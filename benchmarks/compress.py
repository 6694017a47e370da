"""How small may it be? Pruned, distilled and 8-bit models: size, speed, word errors, similarity.

    python benchmarks/compress.py --quick                            # few texts, few steps: does it run
    python benchmarks/compress.py --store runs/data --student DIR    # a corpus, and a student taught before
    python benchmarks/compress.py --json out.json

Heads are taken by what ablating them costs (critical paths), by the norm of their weights and at random (three
draws), 30 % each. Goals: pruned by effect: word errors at most one point above the whole model, similarity >= 0.97
of its, and better than the other orders; student: three times the tokens a second, at most 5 % more nats a token,
at most two points more word errors. Without a corpus the GPT's own speech is what is measured and learnt on.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import comparing
import numpy as np
import torch
import torch.nn.functional as F
import typer
from quality import TEXTS

from voxray.bundle import BUILTIN, Bundle
from voxray.compress import pruning, ranking, student
from voxray.compress.student import StudentTraining
from voxray.config import StudentConfig
from voxray.evaluate import sets
from voxray.evaluate.named import NamedJudges
from voxray.train.gpt import IGNORE
from voxray.voice import Voice, builtin_names

SHARE, POINTS, KEPT = 0.3, 1.0, 0.97
FASTER, NATS, STUDENT_POINTS = 3.0, 1.05, 2.0


@dataclass(frozen=True)
class Row:
    """One model. `millions` of parameters of the GPT stage, `nll` in nats a held-out token."""

    name: str
    gone: float
    millions: float
    tokens_a_second: float
    nll: float
    error: float
    similarity: float


def speed(bundle: Bundle, seconds: float) -> float:
    """Tokens a second of processor time of the GPT stage alone, fed step by step: other jobs do not count."""
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


def measure(
    name: str, bundle: Bundle, gone: float, held: Any, texts: list[tuple[str, str]], voice: Voice,
    ear: comparing.Ear, judges: NamedJudges, batches: int, seconds: float,
) -> Row:  # fmt: skip
    """Everything of one model."""
    spoken = comparing.speak(texts, voice, bundle, judges, ear)
    return Row(
        name, gone, pruning.parameters(bundle.gpt) / 1e6, speed(bundle, seconds),
        student.token_nll(bundle.gpt, held, batches), spoken.error,
        float(np.mean(list(spoken.mean_similarity.values()))),
    )  # fmt: skip


def loss(gpt: Any, rows: list[torch.Tensor]) -> torch.Tensor:
    """Token cross-entropy of padded rows [ids, lengths, tokens, targets]."""
    logits = gpt(rows[0], rows[1], rows[2])
    return F.cross_entropy(logits.flatten(0, 1).float(), rows[3].flatten(), ignore_index=IGNORE)


def orders(bundle: Bundle, draw: Any, batches: int) -> list[ranking.Ranking]:
    """All orders to prune by."""
    given = []
    for n in range(batches):
        b = student.batch(draw, 8, bundle.gpt.end, np.random.default_rng((9, n)))
        given.append([b.ids, b.lengths, b.tokens, b.targets])
    return [
        ranking.by_effect(bundle.gpt, given, loss),
        ranking.by_gradient(bundle.gpt, given, loss),
        ranking.by_magnitude(bundle.gpt),
        *(ranking.by_chance(bundle.gpt, seed) for seed in range(3)),
    ]


def verdicts(rows: list[Row]) -> list[tuple[str, str, str, bool]]:
    """(what, goal, figure, met)."""
    named = {row.name: row for row in rows}
    whole, best, small = named["whole"], named["pruned by effect"], named["student"]
    others = [r for r in rows if r.name.startswith("pruned") and r is not best]
    ratio = best.similarity / whole.similarity
    faster, nats = small.tokens_a_second / whole.tokens_a_second, small.nll / whole.nll
    return [
        ("pruned: share of heads gone", f">= {SHARE}", f"{best.gone:.2f}", best.gone >= SHARE - 0.02),
        ("pruned: word errors", f"<= +{POINTS:.0f}", f"{best.error - whole.error:+.1f}",
         best.error - whole.error <= POINTS),
        ("pruned: similarity kept", f">= {KEPT}", f"{ratio:.2f}", ratio >= KEPT),
        ("pruned: nats a token, below all other orders", "lowest", f"{best.nll:.3f}",
         all(best.nll <= r.nll for r in others)),
        ("student: times the tokens a second", f">= {FASTER:.0f}", f"{faster:.1f}", faster >= FASTER),
        ("student: nats a token", f"<= {NATS:.2f} x", f"{nats:.2f} x", nats <= NATS),
        ("student: word errors", f"<= +{STUDENT_POINTS:.0f}", f"{small.error - whole.error:+.1f}",
         small.error - whole.error <= STUDENT_POINTS),
    ]  # fmt: skip


def table(rows: list[Row]) -> str:
    """One row a model."""
    lines = [
        "| model | heads gone | M parameters | tokens/s | nats a token | errors % | similarity |",
        "|" + "---|" * 7,
    ]
    lines += [
        f"| {r.name} | {100 * r.gone:.0f} % | {r.millions:.2f} | {r.tokens_a_second:.0f} | {r.nll:.3f} "
        f"| {r.error:.1f} | {r.similarity:.3f} |"
        for r in rows
    ]
    return "\n".join(lines)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Few texts, few steps.")] = False,
    out: Annotated[Path | None, typer.Option("--json", help="All figures.")] = None,
    model: Annotated[Path | None, typer.Option(help="A model's folder.")] = None,
    store: Annotated[Path | None, typer.Option(help="A prepared corpus.")] = None,
    taught: Annotated[
        Path | None, typer.Option("--student", help="A student taught before.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Of a student taught here.")] = 1500,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
) -> None:
    """Measure every smaller model."""
    torch.set_num_threads(threads)
    home = model or BUILTIN / "mini"
    bundle, judges = Bundle.load(home, precision="float32"), NamedJudges(threads=threads)
    voice = Voice.builtin(builtin_names()[0]) if model is None else Voice("zero", torch.zeros(256))
    lines = [line for line in sets.read_texts(TEXTS / "en.tsv") if line.kind == "sentence"]
    texts = [(line.text, "en") for line in lines[: 2 if quick else 40]]
    config = StudentTraining(model=StudentConfig(), steps=3 if quick else steps)
    if quick:
        config = config.model_copy(update={"batch": 2})
    if store is None:
        said = [line.text for line in lines[40 : 44 if quick else 140]]
        rows = student.spoken_rows(bundle, said, voice, seed=100)
        cut = max(1, len(rows) // 5)
        draw, held = student.drawn_from(rows[cut:]), student.drawn_from(rows[:cut])
    else:
        draw = student.rows_from_store(store, "train", config)
        held = student.rows_from_store(store, "dev", config)
    batches, seconds = (1, 0.5) if quick else (8, 5.0)
    reference = comparing.audio.resample(
        comparing.tts(texts[0][0], voice, model=bundle, seed=9).audio, 24_000, 16_000
    )
    mean = comparing.embedded([reference], judges)
    ear = comparing.Ear(mean, dict.fromkeys(mean, 1.0), dict.fromkeys(mean, 0.0))

    def row(name: str, small: Bundle, gone: float = 0.0) -> Row:
        made = measure(name, small, gone, held, texts, voice, ear, judges, batches, seconds)
        print(made, flush=True)
        return made

    found = [row("whole", bundle)]
    count = round(SHARE * len(ranking.all_heads(bundle.gpt)))
    for order in orders(bundle, draw, batches):
        small = pruning.pruned(bundle, order.worst(count, bundle.gpt.config.guided_heads))
        small.config = bundle.config.model_copy(
            update={"gpt": small.gpt.config}
        )  # the voice's model
        share = pruning.share_gone(bundle.gpt, small.gpt)
        found.append(row(f"pruned by {order.by}", small, share))
    eight = row("8 bits", Bundle.load(home, precision="int8"))
    found.append(replace(eight, millions=found[0].millions))  # packed weights are no parameters
    with tempfile.TemporaryDirectory() as folder:
        small = (
            Bundle.load(taught)
            if taught
            else student.teach(bundle, draw, held, Path(folder), config)
        )
    found.append(row("student", small))
    goals = verdicts(found)
    head = "| measure | goal | figure | met |\n|---|---|---|---|\n"
    parts = {
        "Goals": head
        + "\n".join(f"| {w} | {g} | {f} | {'yes' if m else '**no**'} |" for w, g, f, m in goals),
        "Models": table(found),
    }
    record = {"rows": [asdict(r) for r in found]}
    comparing.finish("Smaller models", "compress", parts, record, out, quick)
    if not quick and not all(met for *_, met in goals):
        raise typer.Exit(1)


if __name__ == "__main__":
    sys.exit(comparing.run(main, "compress"))
