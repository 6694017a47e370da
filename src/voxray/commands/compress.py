"""`voxray compress prune|distil|onnx`: smaller models, each written as a folder that `--model` takes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from torch import Tensor

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
        Path | None, typer.Option(help="A table of heads and their effect, JSON.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="A prepared corpus to measure each head's effect on; default: the model's own speech."
        ),
    ] = None,
    voice: Annotated[
        str | None, typer.Option(help="Whose speech that is: a name or a file.")
    ] = None,
    share: Annotated[float, typer.Option(min=0.0, max=0.9, help="Of the heads to take.")] = 0.3,
    layers: Annotated[str, typer.Option(help="Whole layers to take, too: 0,3")] = "",
) -> None:
    """Take out the attention heads of the GPT that are worth least."""
    from ..compress import pruning
    from ..compress.ranking import Ranking, all_heads
    from ..models.student import Student

    bundle = _open(model)
    if isinstance(bundle.gpt, Student):
        raise ValueError(f"{bundle.name!r} has no heads to prune: its GPT stage is an LSTM already")
    heads, gone = all_heads(bundle.gpt), _layers(layers, len(bundle.gpt.blocks))
    count = round(share * len(heads))
    if ranking is not None:
        order = Ranking.load(ranking)
    else:
        order = _measured(bundle, store, voice, count)
        output.mkdir(parents=True, exist_ok=True)
        order.save(output / "ranking.json")
    if not set(heads) <= set(order.scores):
        raise ValueError(f"{ranking} is of another model: it does not hold all {len(heads)} heads")
    chosen = order.worst(count, bundle.gpt.config.guided_heads)
    chosen = [head for head in chosen if head[0] not in gone]
    small = pruning.pruned(bundle, chosen, gone, means=order.means)
    small.save(output)
    sys.stdout.write(
        f"{output}: {100 * pruning.share_gone(bundle.gpt, small.gpt):.0f} % of {len(heads)} heads gone "
        f"(by {order.by}), {pruning.parameters(small.gpt) / 1e6:.2f} of "
        f"{pruning.parameters(bundle.gpt) / 1e6:.2f} M parameters in the GPT\n"
    )


def _layers(told: str, count: int) -> list[int]:
    names = [name.strip() for name in told.split(",") if name.strip()]
    wrong = [name for name in names if not (name.isdecimal() and int(name) < count)]
    if wrong:
        raise ValueError(f"no layer {wrong[0]!r}: this model's are 0 to {count - 1}")
    return [int(name) for name in names]


def _measured(bundle: Bundle, store: Path | None, voice: str | None, count: int) -> Ranking:
    """What every head of the GPT is worth, on a corpus or on what the model itself says."""
    import torch

    from ..compress.ranking import by_effect
    from ..train.gpt import gpt_losses

    return by_effect(
        bundle.gpt, _given(bundle, store, voice),
        lambda gpt, rows: gpt_losses(gpt, rows, torch.Generator().manual_seed(0))["token"],
        count, bundle.gpt.config.guided_heads, _say,
    )  # fmt: skip


def _given(bundle: Bundle, store: Path | None, voice: str | None) -> list[list[Tensor]]:
    import numpy as np

    from ..compress.student import own_batches
    from ..train.gpt import GPTTraining, Sequences

    if store is None:
        return own_batches(bundle, voice, say=_say)
    data = Sequences(store, "dev")
    if not data.entries:
        raise ValueError(f"{store} has no labelled dev clips")
    config = GPTTraining(model=bundle.gpt.config, batch=8)
    return [data.batch(config, np.random.default_rng(n)) for n in range(3)]


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
