"""`voxray train gpt`: phonemes -> semantic tokens, on random concatenations of one voice's clips.

The loss is next-token cross-entropy plus, for the guided heads, the negative log of the attention
that each token's row gives to the phoneme being spoken (exact durations, as a pointer per token). The
guided heads see only a window of phonemes around the pointer, in training as when speaking
(`voxray.watch`), so that an alignment can be followed, watched and shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from voxray.config import GPTConfig
from voxray.models.gpt import GPT
from voxray.models.token_model import TokenModel
from voxray.sites import record

from .feed import Feed, half, place
from .label import PEOPLE, TEACHER, Label, check_stamp, read_labels
from .run import Run, Say, Schedule, Task, fit, silent
from .store import Entry, Store

BACK, AHEAD = 1, 3  # the window around the pointer, as in voxray.watch
FAR = -1e4  # additive bias that closes a column without making NaN
IGNORE = -100


class GPTTraining(Schedule):
    """Settings of a GPT run. A batch is `batch` rows of at most max_tokens and max_phones."""

    model: GPTConfig = GPTConfig()
    steps: int = 2000
    batch: int = 12
    max_tokens: int = 190
    max_phones: int = 120
    single_share: float = 0.4  # rows of one clip; the others are filled up
    people: float = (
        0.2  # share of rows of people's recordings, where there is synthetic speech, too
    )
    rate: float = 8e-4
    guide: float = 0.5
    dropout: float = 0.1
    spoil: float = 0.1  # share of the tokens read that are replaced: speaking, it reads its own


@dataclass
class Row:
    """One training sequence: phone ids [P], tokens [S], pointer [S]."""

    ids: list[int]
    tokens: list[int]
    pointer: list[int]


def pointers(label: Label, tokens: int) -> np.ndarray:
    """The phoneme that fills most of each 40 ms token: [S] indices, never going back."""
    path = np.zeros(2 * tokens, dtype=np.int64)
    for index, (start, end) in enumerate(label.spans):
        path[start:end] = index
    last = int(label.spans[-1, 1])
    path[last:] = len(label.ids) - 1
    return np.maximum.accumulate(path[1::2])


class Sequences:
    """Rows for the GPT from a store with tokens and labels."""

    def __init__(self, folder: Path, split: str = "train") -> None:
        self.store = Store(folder)
        self.tokens = self.store.array("tokens.i16", "int16", 960)
        self.labels = read_labels(folder, (TEACHER, PEOPLE))
        self.entries = [e for e in self.store.entries if e.split == split and e.name in self.labels]
        self.people = [e for e in self.entries if not e.synthetic]
        self.synthetic = [e for e in self.entries if e.synthetic]
        self.groups: dict[tuple[str, str], list[Entry]] = {}
        for entry in self.entries:
            self.groups.setdefault((entry.speaker, entry.language), []).append(entry)

    def clip(self, entry: Entry) -> Row:
        """One clip as a row."""
        label = self.labels[entry.name]
        count = entry.samples // 960
        tokens = self.tokens[entry.start // 960 : entry.start // 960 + count]
        return Row(label.ids.tolist(), tokens.tolist(), pointers(label, count).tolist())

    def row(self, config: GPTTraining, rng: np.random.Generator) -> Row:
        """A clip, alone or with others of the same voice behind it."""
        while True:
            pool = self.people if rng.random() < config.people else self.synthetic
            pool = pool or self.entries
            entry = pool[int(rng.integers(len(pool)))]
            row = self.clip(entry)
            if len(row.tokens) <= config.max_tokens and len(row.ids) <= config.max_phones:
                break
        if rng.random() < config.single_share:
            return row
        group = self.groups[entry.speaker, entry.language]
        for _ in range(4):
            more = self.clip(group[int(rng.integers(len(group)))])
            if len(row.tokens) + len(more.tokens) > config.max_tokens:
                break
            if len(row.ids) + len(more.ids) > config.max_phones:
                break
            shift = len(row.ids)
            row = Row(
                row.ids + more.ids,
                row.tokens + more.tokens,
                row.pointer + [p + shift for p in more.pointer],
            )
        return row

    def batch(self, config: GPTTraining, rng: np.random.Generator) -> list[Tensor]:
        """ids [B, P], text lengths, tokens [B, S], targets [B, S+1], pointer [B, S+1]; fixed size."""
        size = config.batch
        ids = torch.zeros(size, config.max_phones, dtype=torch.long)
        tokens = torch.zeros(size, config.max_tokens, dtype=torch.long)
        targets = torch.full((size, config.max_tokens + 1), IGNORE)
        pointer = torch.zeros(size, config.max_tokens + 1, dtype=torch.long)
        lengths = torch.zeros(size, dtype=torch.long)
        for i in range(size):
            row = self.row(config, rng)
            phones, count = len(row.ids), len(row.tokens)
            lengths[i] = phones
            ids[i, :phones] = torch.tensor(row.ids)
            tokens[i, :count] = torch.tensor(row.tokens)
            targets[i, :count] = tokens[i, :count]
            targets[i, count] = config.model.codebook_size
            pointer[i, :count] = torch.tensor(row.pointer)
            pointer[i, count:] = phones - 1
        return [ids, lengths, tokens, targets, pointer]


def window_bias(
    pointer: Tensor, phones: int, heads: list[int], n_head: int, generator: torch.Generator | None
) -> Tensor:
    """Additive bias [B, H, S+1, P+S+1]: guided heads see phonemes near the last pointer only.

    `pointer` [B, S+1] is the phoneme of the token each row predicts; the window hangs on the one
    before, jittered by a phoneme (without a generator: exactly that of `voxray.watch`), and always holds the right one.
    """
    batch, rows = pointer.shape
    before = F.pad(pointer[:, :-1], (1, 0))
    jitter = torch.zeros(2, batch, rows, dtype=torch.long, device=pointer.device)
    if generator is not None:
        jitter = torch.randint(0, 2, jitter.shape, generator=generator, device=pointer.device)
    low = torch.minimum(before - BACK - jitter[0], pointer)
    high = torch.maximum(before + AHEAD + jitter[1], pointer)
    column = torch.arange(phones + rows, device=pointer.device)
    near = (column >= low[..., None]) & (column <= high[..., None]) & (column < phones)
    bias = torch.zeros(batch, n_head, rows, phones + rows, device=pointer.device)
    closed = torch.where(near, 0.0, FAR)  # [B, S+1, L]
    for head in heads:
        bias[:, head] = closed
    return bias


def guided_layers(model: TokenModel) -> dict[int, list[int]]:
    """The guided heads of each layer that has some."""
    layers: dict[int, list[int]] = {}
    for layer, head in model.config.guided_heads:
        layers.setdefault(layer, []).append(head)
    return layers


def guided_bias(
    model: TokenModel, pointer: Tensor, phones: int, generator: torch.Generator | None
) -> dict[int, Tensor]:
    """`window_bias` for every layer with guided heads; pruned layers hold fewer."""
    kept, n_head = getattr(model.config, "kept_heads", ()), model.config.n_head
    return {
        layer: window_bias(pointer, phones, heads, kept[layer] if kept else n_head, generator)
        for layer, heads in guided_layers(model).items()
    }


def gpt_losses(
    model: GPT, batch: list[Tensor], generator: torch.Generator, spoil: float = 0.0
) -> dict[str, Tensor]:
    """Token cross-entropy (and its accuracy) and the guided heads' loss (and its accuracy)."""
    ids, lengths, tokens, targets, pointer = batch
    if spoil:
        where, codes = tokens.device, model.config.codebook_size
        others = torch.randint(codes, tokens.shape, generator=generator, device=where)
        wrong = torch.rand(tokens.shape, generator=generator, device=where) < spoil
        tokens = torch.where(wrong, others, tokens)
    layers, phones = guided_layers(model), ids.shape[1]
    bias = guided_bias(model, pointer, phones, generator)
    names = [f"blocks.{layer}.attn.pattern" for layer in layers]
    with record(model, names) as seen, half(ids.device):
        logits = model(ids, lengths, tokens, None, None, bias)
    logits = logits.float()
    live = targets != IGNORE
    token_loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
    guide, right = logits.new_zeros(()), logits.new_zeros(())
    for layer, heads in layers.items():
        pattern = seen[f"blocks.{layer}.attn.pattern"][0].float()
        rows = pattern[:, heads, phones:, :phones].mean(1)  # [B, S+1, P]
        mass = rows.gather(2, pointer[..., None])[..., 0]
        guide = guide - (mass.clamp_min(1e-4).log() * live).sum() / live.sum() / len(layers)
        hit = (rows.argmax(2) == pointer) & live
        right = right + hit.sum() / live.sum() / len(layers)
    accuracy = ((logits.argmax(2) == targets) & live).sum() / live.sum()
    return {"token": token_loss, "guide": guide, "accuracy": accuracy, "pointer": right}


def train_gpt(folder: Path, out: Path, config: GPTTraining, say: Say = silent) -> GPT:
    """Train on a store with tokens and labels; resumes from `out`."""
    check_stamp(folder)
    torch.manual_seed(config.seed)  # initial weights only
    model = GPT(config.model.model_copy(update={"dropout": config.dropout}))
    device = place(config)
    model.to(device)
    data, held = Sequences(folder), Sequences(folder, "dev")

    def make(number: int) -> list[Tensor]:
        return data.batch(config, np.random.default_rng((config.seed, number)))

    feed = Feed(make, config, device)

    def losses(number: int) -> dict[str, Tensor]:
        dice = torch.Generator(device).manual_seed(number)
        return gpt_losses(model, feed(number), dice, config.spoil)

    def validate() -> dict[str, float]:
        batch = feed.moved(held.batch(config, np.random.default_rng(0)))
        parts = gpt_losses(model, batch, torch.Generator(device).manual_seed(0))
        return {"loss": float(parts["token"]), **{k: float(v) for k, v in parts.items()}}

    weights = {"token": 1.0, "guide": config.guide}
    check = validate if held.entries else None
    task = Task([{"params": list(model.parameters())}], losses, weights, validate=check)
    fit(Run(out, {"gpt": model}), task, config, say)
    return model
