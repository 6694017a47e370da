"""Does it help to freeze the text encoder until the rest has converged? The article preset with and without.

    python benchmarks/article_freeze.py STORE --quick          # a few steps, one seed: does it run
    python benchmarks/article_freeze.py STORE --json out.json  # five seeds; killed, it goes on
    python benchmarks/article_freeze.py STORE --small --steps 120  # a small model, for a small machine

Both arms start from the same language model and see the same batches. Compared at the end: validation loss, its
spread over seeds, and the largest rise of the validation loss between two checks (instability). Differences are
paired by seed with 95 % bootstrap intervals.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import comparing
import torch
import typer

from voxray.config import ArticleConfig, ArticlePosteriorConfig, FlowConfig, IstftDecoderConfig
from voxray.train.article import ArticleTraining, LanguageTraining, train_article

SEEDS = 5


@dataclass(frozen=True)
class Row:
    """One run: last and best validation loss, largest rise between two checks."""

    seed: int
    freeze: bool
    last: float
    best: float
    rise: float


def one(store: Path, folder: Path, config: ArticleTraining) -> Row:
    """Train one arm and read its validation rows."""
    train_article(store, folder, config, lambda line: print(" ", line, flush=True))
    lines = (folder / "sovits" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [r["loss"] for r in map(json.loads, lines) if r["kind"] == "validation"]
    if not losses:
        raise ValueError("the store has no dev clips: nothing to validate on")
    rises = [b - a for a, b in zip(losses, losses[1:], strict=False)]
    return Row(config.seed, config.freeze, losses[-1], min(losses), max([0.0, *rises]))


def table(rows: list[Row]) -> str:
    """Both arms, then the paired differences."""
    lines = [
        "| measure | frozen first | never frozen | difference [95 %] | seeds |",
        "|" + "---|" * 5,
    ]
    frozen = sorted((r for r in rows if r.freeze), key=lambda r: r.seed)
    free = sorted((r for r in rows if not r.freeze), key=lambda r: r.seed)
    for name in ("last", "best", "rise"):
        one_arm, other = ([getattr(r, name) for r in arm] for arm in (frozen, free))
        gap, low, high = comparing.paired(one_arm, other)
        means = [sum(values) / len(values) for values in (one_arm, other)]
        lines.append(
            f"| {name} | {means[0]:.3f} | {means[1]:.3f} | {gap:+.3f} [{low:+.3f}, {high:+.3f}] "
            f"| {len(frozen)} |"
        )
    return "\n".join(lines)


def claim(rows: list[Row]) -> dict[str, object]:
    """What decides "freezing first steadies training": the share of the largest rise that goes, by seed."""
    named = {(r.seed, r.freeze): r for r in rows}
    seeds = sorted({r.seed for r in rows if (r.seed, not r.freeze) in named})
    rises = [(named[s, True].rise, named[s, False].rise) for s in seeds]
    mean = max(1e-9, sum(free for _, free in rises) / max(1, len(rises)))
    gaps = [(free - frozen) / mean for frozen, free in rises]
    last = comparing.paired(
        [named[s, True].last for s in seeds], [named[s, False].last for s in seeds]
    )
    note = "last validation loss, never frozen less frozen: {:+.3f} [{:+.3f}, {:+.3f}]".format(
        *last
    )
    return {"figure": comparing.interval(gaps), "note": note}


SMALL = ArticleConfig(
    text_symbols=1000, text_hidden=96, text_layers=2, text_heads=4, text_width=64,
    posterior=ArticlePosteriorConfig(conv_width=64, gru_width=48, latent_channels=92),
    flow=FlowConfig(channels=96, hidden=48, layers=2, couplings=2),
    decoder=IstftDecoderConfig(width=96, layers=2), duration_hidden=48,
)  # fmt: skip


def settings(quick: bool, small: bool, steps: int) -> ArticleTraining:
    """Of every run; seeds and arms apart."""
    model = SMALL if quick or small else ArticleConfig()
    return ArticleTraining(
        model=model, steps=6 if quick else steps, validate_every=2 if quick else max(1, steps // 20),
        patience=2, gain=0.01, held=1 if quick else 4, warmup=min(100, steps // 6 + 1), save_every=20, batch=2 if quick or small else 4,
        lm=LanguageTraining(steps=4 if quick else 100 if small else 400),
    )  # fmt: skip


def main(
    store: Annotated[Path, typer.Argument(help="A store made by `data prepare`.")],
    quick: Annotated[bool, typer.Option("--quick", help="A few steps, one seed, small.")] = False,
    out: Annotated[Path | None, typer.Option("--json", help="All figures.")] = None,
    small: Annotated[bool, typer.Option("--small", help="Of a small model.")] = False,
    steps: Annotated[int, typer.Option(help="Of each run.")] = 600,
    seeds: Annotated[int, typer.Option(help="How many.")] = SEEDS,
    keep: Annotated[Path, typer.Option(help="The runs' folder; they resume.")] = Path(
        "runs/article-freeze"
    ),
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
) -> None:
    """Compare both arms."""
    torch.set_num_threads(threads)
    config = settings(quick, small, steps)
    rows = []
    for seed in range(1, 2 if quick else seeds + 1):
        for freeze in (True, False):
            folder = keep / f"{seed}-{'frozen' if freeze else 'free'}"
            if not freeze and not (folder / "lm").exists():  # the same language model in both arms
                twin = keep / f"{seed}-frozen"
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copytree(twin / "lm", folder / "lm")
                shutil.copy(twin / "tokenizer.json", folder / "tokenizer.json")
            arm = config.model_copy(update={"seed": seed, "freeze": freeze})
            rows.append(one(store, folder, arm))
            print(rows[-1], flush=True)
    record = {
        "rows": [asdict(row) for row in rows], "weights": "none: trained from the beginning",
        "quick": quick, "claims": {"Freezing first steadies training": claim(rows)},
        "facts": {"settings": f"{config.steps} steps of {config.batch} clips, validated every "
                  f"{config.validate_every}; text encoder {config.model.text_layers} x "
                  f"{config.model.text_hidden}"},
    }  # fmt: skip
    comparing.finish(
        "Freezing the text encoder", "article_freeze", {"Figures": table(rows)}, record, out, quick
    )


if __name__ == "__main__":
    sys.exit(comparing.run(main, "article_freeze"))
