"""`voxray compress prune|distil|onnx`: smaller models, each written as a folder that `--model` takes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..compress.ranking import Ranking

app = typer.Typer(help="Make a model smaller.", no_args_is_help=True)
Model = Annotated[str, typer.Argument(help="A model's folder, or `mini` or `mini-small`.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Where the smaller model goes.")]


@app.command()
def prune(
    model: Model,
    output: Output,
    ranking: Annotated[
        Path | None, typer.Option(help="A table of heads and their effect, JSON; see `explain`.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="A prepared corpus to measure each head's effect on.")
    ] = None,
    share: Annotated[float, typer.Option(min=0.0, max=0.9, help="Of the heads to take.")] = 0.3,
    layers: Annotated[str, typer.Option(help="Whole layers to take, too: 0,3")] = "",
) -> None:
    """Take out the attention heads of the GPT that are worth least."""
    from ..compress import pruning
    from ..compress.ranking import Ranking, all_heads

    bundle = _open(model)
    heads = all_heads(bundle.gpt)
    count = round(share * len(heads))
    if ranking is not None:
        order = Ranking.load(ranking)
    elif store is not None:
        order = _measured(bundle, store, count)
        output.mkdir(parents=True, exist_ok=True)
        order.save(output / "ranking.json")
    else:
        raise ValueError("give --ranking FILE, or --store DIR to measure the heads on")
    gone = [int(layer) for layer in layers.split(",") if layer.strip()]
    chosen = order.worst(count, bundle.gpt.config.guided_heads)
    chosen = [head for head in chosen if head[0] not in gone]
    small = pruning.pruned(bundle, chosen, gone, means=order.means)
    small.save(output)
    sys.stdout.write(
        f"{output}: {100 * pruning.share_gone(bundle.gpt, small.gpt):.0f} % of {len(heads)} heads gone "
        f"(by {order.by}), {pruning.parameters(small.gpt) / 1e6:.2f} of "
        f"{pruning.parameters(bundle.gpt) / 1e6:.2f} M parameters in the GPT\n"
    )


def _measured(bundle: Bundle, store: Path, count: int) -> Ranking:
    import numpy as np
    import torch

    from ..compress.ranking import by_effect
    from ..train.gpt import GPTTraining, Sequences, gpt_losses

    data = Sequences(store, "dev")
    if not data.entries:
        raise ValueError(f"{store} has no labelled dev clips")
    config = GPTTraining(model=bundle.gpt.config, batch=8)
    batches = [data.batch(config, np.random.default_rng(n)) for n in range(3)]
    return by_effect(
        bundle.gpt, batches,
        lambda gpt, rows: gpt_losses(gpt, rows, torch.Generator().manual_seed(0))["token"],
        count, bundle.gpt.config.guided_heads,
    )  # fmt: skip


@app.command()
def distil(
    model: Model,
    store: Annotated[Path, typer.Argument(help="A prepared corpus with tokens and labels.")],
    output: Output,
    steps: Annotated[int, typer.Option(min=1, help="How long to teach.")] = 1500,
    width: Annotated[int, typer.Option(min=16, help="Of the LSTMs.")] = 256,
    seed: Annotated[int, typer.Option(help="Same seed, same student.")] = 1,
) -> None:
    """Teach an LSTM what the GPT says; killed, it goes on where it stopped."""
    from ..compress import student
    from ..config import StudentConfig

    bundle = _open(model)
    small = StudentConfig(width=width, text_width=width // 2)
    config = student.StudentTraining(model=small, steps=steps, seed=seed, validate_every=100)
    draw = student.rows_from_store(store, "train", config)
    held = student.rows_from_store(store, "dev", config)
    made = student.teach(bundle, draw, held, output / "work", config, _say)
    made.save(output)
    nll = [student.token_nll(gpt, held, 4) for gpt in (bundle.gpt, made.gpt)]
    sys.stdout.write(f"{output}: {nll[1]:.3f} nats a held-out token, the GPT {nll[0]:.3f}\n")


@app.command()
def onnx(model: Model, output: Output) -> None:
    """Export a distilled model as ONNX, for a browser or a phone."""
    from ..compress.onnx_export import FILES, export

    export(_open(model), output)
    size = sum((output / name).stat().st_size for name in FILES) / 1e6
    sys.stdout.write(f"{output}: {', '.join(FILES)}, {size:.1f} MB\n")


def _open(model: str) -> Bundle:
    from ..bundle import Bundle
    from ..packaged import home

    folder = home(model)
    if not folder.is_dir():
        raise FileNotFoundError(f"no such model: {model}")
    return Bundle.load(folder, precision="float32")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
