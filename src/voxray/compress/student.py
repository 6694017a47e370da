"""Teach an LSTM what a GPT says: knowledge distillation of the text-to-token stage (Hinton et al. 2015).

In: a bundle and rows to learn on: a prepared store (`rows_from_store`), or texts that the GPT itself speaks
(`spoken_rows`: no corpus is needed). The loss: KL from the teacher's distribution, next-token cross-entropy, and
the guided head held to the phoneme being said. The teacher's guided heads see their window, as in its own training
and when it speaks; a share of the student's rows is open, so that it is right without one, too. Out: a bundle whose
GPT stage is the student.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import checkpoint
from ..bundle import Bundle
from ..config import BundleConfig, StudentConfig
from ..engine import tts
from ..models.gpt import GPT
from ..models.student import Student
from ..packaged import codes_hash, home
from ..sites import record
from ..train.feed import place
from ..train.gpt import IGNORE, Row, Sequences, guided_bias, window_bias
from ..train.rehearsal import SENTENCES
from ..train.run import Run, Say, Schedule, Task, fit, silent
from ..voice import Voice

ROWS = 8  # side by side, where heads are measured
Draw = Callable[[np.random.Generator], Row]


class StudentTraining(Schedule):
    """Settings of a student's run."""

    model: StudentConfig = StudentConfig()
    steps: int = 1500
    batch: int = 12
    max_tokens: int = 190
    max_phones: int = 120
    rate: float = 2e-3
    soft: float = 0.7  # share of the teacher's distribution, against the token that came
    guide: float = 0.3
    spoil: float = 0.05
    open: float = 0.3  # share of the rows whose head sees all of the text


def fitting(config: StudentTraining, gpt: GPT) -> StudentTraining:
    """The settings with the teacher's vocabularies."""
    model = config.model.model_copy(
        update={
            "text_symbols": gpt.config.text_symbols,
            "codebook_size": gpt.config.codebook_size,
        }
    )
    return config.model_copy(update={"model": model})


def rows_from_store(folder: Path, split: str, config: StudentTraining) -> Draw:
    """Rows of a prepared corpus, as the GPT's own training draws them."""
    from ..train.gpt import GPTTraining

    data = Sequences(folder, split)
    if not data.entries:
        raise ValueError(f"{folder} has no labelled {split} clips")
    sizes = GPTTraining(max_tokens=config.max_tokens, max_phones=config.max_phones)
    return lambda rng: data.row(sizes, rng)


def spoken_rows(
    bundle: Bundle, texts: Sequence[str], voice: Voice | str | None, seed: int = 0, say: Say = silent
) -> list[Row]:  # fmt: skip
    """What the teacher itself says to texts, with the phoneme of each token. Voice None: the built-in one of each text's language."""
    rows = []
    for number, text in enumerate(texts):
        made = tts(text, voice, model=bundle, seed=seed + number, takes=1)
        ids = list(made.phonemes.ids)
        if len(made.tokens) and len(ids):
            path = np.maximum.accumulate(np.clip(made.alignment, 0, len(ids) - 1))
            rows.append(Row(ids, made.tokens.tolist(), path.tolist()))
        say(f"{number + 1} of {len(texts)} texts spoken")
    if not rows:
        raise ValueError("the teacher said nothing")
    return rows


def drawn_from(rows: Sequence[Row]) -> Draw:
    """Rows at random from a list."""
    return lambda rng: rows[int(rng.integers(len(rows)))]


@dataclass(frozen=True)
class Batch:
    """ids [B, P], lengths [B], tokens [B, S], targets [B, S+1], pointer [B, S+1]."""

    ids: Tensor
    lengths: Tensor
    tokens: Tensor
    targets: Tensor
    pointer: Tensor

    def to(self, device: torch.device) -> Batch:
        """All but the lengths, which are asked for on the CPU, on a device."""
        others = (x.to(device) for x in (self.tokens, self.targets, self.pointer))
        return Batch(self.ids.to(device), self.lengths, *others)


def batch(draw: Draw, count: int, end: int, rng: np.random.Generator) -> Batch:
    """Rows padded to the longest of them."""
    return _padded([draw(rng) for _ in range(count)], end)


def _padded(rows: Sequence[Row], end: int) -> Batch:
    count = len(rows)
    phones, size = max(len(r.ids) for r in rows), max(len(r.tokens) for r in rows)
    made = Batch(
        torch.zeros(count, phones, dtype=torch.long),
        torch.tensor([len(r.ids) for r in rows]),
        torch.zeros(count, size, dtype=torch.long),
        torch.full((count, size + 1), IGNORE),
        torch.zeros(count, size + 1, dtype=torch.long),
    )
    for n, row in enumerate(rows):
        made.ids[n, : len(row.ids)] = torch.tensor(row.ids)
        made.tokens[n, : len(row.tokens)] = torch.tensor(row.tokens)
        made.targets[n, : len(row.tokens)] = torch.tensor(row.tokens)
        made.targets[n, len(row.tokens)] = end
        made.pointer[n, : len(row.tokens)] = torch.tensor(row.pointer)
        made.pointer[n, len(row.tokens) :] = len(row.ids) - 1
    return made


def own_batches(
    bundle: Bundle, voice: Voice | str | None = None, texts: int = 12, seed: int = 0, say: Say = silent
) -> list[list[Tensor]]:  # fmt: skip
    """What a model says to `texts` sentences of our own in each language, eight a batch: ids, lengths, tokens, targets and pointer
    as in `Batch`. ValueError for a published model without a voice.
    """
    if bundle.config.version and voice is None:
        raise ValueError(
            f"{bundle.name!r} has no built-in voice to hear it in: give --voice, a prepared corpus (--store) or a table of its "
            "heads (--ranking)"
        )
    rows: list[Row] = []
    for sentences in SENTENCES.values():
        rows += spoken_rows(bundle, sentences[:texts], voice, seed, say)
    made = []
    for at in range(0, len(rows), ROWS):
        b = _padded(rows[at : at + ROWS], bundle.gpt.end)
        made.append([b.ids, b.lengths, b.tokens, b.targets, b.pointer])
    return made


def student_losses(
    student: Student,
    teacher: GPT | None,
    given: Batch,
    dice: torch.Generator,
    spoil: float = 0.0,
    opened: float = 0.0,
) -> dict[str, Tensor]:
    """KL from the teacher (0 without one), token cross-entropy, guide, agreement of the best tokens.

    `dice` are on the batch's device. `opened`: share of the rows without a window.
    """
    tokens, at = given.tokens, given.tokens.device
    if spoil:
        codes = student.config.codebook_size
        others = torch.randint(codes, tokens.shape, generator=dice, device=at)
        wrong = torch.rand(tokens.shape, generator=dice, device=at) < spoil
        tokens = torch.where(wrong, others, tokens)
    phones = given.ids.shape[1]
    bias = window_bias(given.pointer, phones, [0], 1, dice)[..., :phones]
    if opened:
        shut = torch.rand(len(tokens), generator=dice, device=at) >= opened
        bias = bias * shut[:, None, None, None]
    with record(student, "blocks.0.attn.pattern") as seen:
        logits = student(given.ids, given.lengths, tokens, None, None, {0: bias})
    live = given.targets != IGNORE
    rows = seen["blocks.0.attn.pattern"][0][:, 0]  # [B, S+1, P]
    mass = rows.gather(2, given.pointer[..., None])[..., 0]
    parts = {
        "token": F.cross_entropy(
            logits.flatten(0, 1).float(), given.targets.flatten(), ignore_index=IGNORE
        ),
        "guide": -(mass.clamp_min(1e-4).log() * live).sum() / live.sum(),
        "soft": logits.new_zeros(()),
    }
    if teacher is not None:
        with torch.no_grad():
            window = guided_bias(teacher, given.pointer, phones, dice)
            wanted = teacher(given.ids, given.lengths, tokens, None, None, window).float()
        gap = F.kl_div(
            logits.float().log_softmax(-1),
            wanted.log_softmax(-1),
            reduction="none",
            log_target=True,
        ).sum(-1)
        parts["soft"] = (gap * live).sum() / live.sum()
        parts["agree"] = ((logits.argmax(2) == wanted.argmax(2)) & live).sum() / live.sum()
    return parts


def teach(
    bundle: Bundle,
    draw: Draw,
    held: Draw | None,
    out: Path,
    config: StudentTraining,
    say: Say = silent,
) -> Bundle:
    """Train a student on rows, resuming from `out`; returns the bundle around it."""
    config = fitting(config, bundle.gpt)
    with torch.random.fork_rng(
        devices=[]
    ):  # initialisers take no generator; the process keeps its dice
        torch.random.manual_seed(config.seed)
        student = Student(config.model)
    device = place(config)
    student.to(device)
    teacher = bundle.gpt.to(device).eval().requires_grad_(False)

    def losses(number: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((config.seed, number))
        given = batch(draw, config.batch, student.end, rng).to(device)
        dice = torch.Generator(device).manual_seed(number)
        return student_losses(student, teacher, given, dice, config.spoil, config.open)

    def validate() -> dict[str, float]:
        assert held is not None
        given = batch(held, config.batch, student.end, np.random.default_rng(0)).to(device)
        parts = student_losses(student, teacher, given, torch.Generator(device).manual_seed(0))
        return {"loss": float(parts["token"]), **{k: float(v) for k, v in parts.items()}}

    weights = {"soft": config.soft, "token": 1.0 - config.soft, "guide": config.guide}
    task = Task(
        [{"params": list(student.parameters())}], losses, weights,
        validate=validate if held is not None else None,
    )  # fmt: skip
    try:
        fit(Run(out, {"student": student}), task, config, say)
    finally:
        teacher.cpu().requires_grad_(True)
    return with_student(bundle, student.cpu())


def with_student(bundle: Bundle, student: Student, name: str = "") -> Bundle:
    """The bundle with the student in the GPT's place."""
    named = name or f"{bundle.name}-small"
    told = {"gpt": student.config, "name": named, "voices": bundle.hears_as}
    config = bundle.config.model_copy(update=told)
    return replace(bundle, config=config, gpt=student.eval())  # type: ignore[arg-type]


def save_beside(
    student: Student,
    base: str,
    folder: Path,
    *,
    name: str = "",
    training: str = "",
    rounded: Sequence[str] = ("gpt.",),
) -> None:
    """Write a student alone: a model's folder whose other parts are those of a model in the package.

    Large matrices go in 8 bits, unless told otherwise. ValueError if the student does not say the base's tokens.
    """
    raw, state = checkpoint.load(home(base))
    theirs = BundleConfig(**raw)
    own, wanted = (
        (config.text_symbols, config.codebook_size) for config in (student.config, theirs.gpt)
    )
    if own != wanted or theirs.base:
        raise ValueError(
            f"a student of {own[0]} text symbols and {own[1]} tokens does not fit {base!r}, which has "
            f"{wanted[0]} and {wanted[1]}"
            + (f" and is based on {theirs.base!r}" * bool(theirs.base))
        )
    fields = {
        "name": name or f"{base}-small",
        "gpt": student.config,
        "training": training,
        "base": base,
        "base_weights": checkpoint.weights_hash(home(base)),
        "base_codes": codes_hash(state),
    }
    config = theirs.model_copy(update=fields).model_dump(mode="json")
    weights = checkpoint.joined(gpt=student.state_dict())
    checkpoint.save(folder, config, weights, half=True, rounded=rounded)


@torch.inference_mode()
def token_nll(
    model: GPT | Student,
    draw: Draw,
    batches: int,
    count: int = 8,
    seed: int = 0,
    window: bool = False,
) -> float:
    """Mean negative log-likelihood of the held-out tokens, in nats; `window`: as the model speaks, its guided
    heads held to the true phonemes, else with all of the text in sight.
    """
    total, rows = 0.0, 0
    for number in range(batches):
        end = model.config.codebook_size
        given = batch(draw, count, end, np.random.default_rng((seed, number)))
        bias = None
        if window:
            dice = torch.Generator().manual_seed(number)
            bias = guided_bias(model, given.pointer, given.ids.shape[1], dice)
        logits = model(given.ids, given.lengths, given.tokens, None, None, bias)
        live = int((given.targets != IGNORE).sum())
        total += live * float(
            F.cross_entropy(
                logits.flatten(0, 1).float(), given.targets.flatten(), ignore_index=IGNORE
            )
        )
        rows += live
    return total / rows
