"""What a trained GPT would have said: `said.i16`, a draw of every token from its past as recorded.

The prior learns from it to read the text where the GPT errs (`spoil`): these errors are the ones that it
will meet when speaking, likely tokens at the right place, unlike tokens taken from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from voxray.models.gpt import GPT

from .feed import half
from .gpt import Row, Sequences, guided_bias

SAID = "said.i16"


@torch.inference_mode()
def write_said(
    folder: Path,
    model: GPT,
    temperature: float,
    seed: int = 1,
    size: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """Write `said.i16` beside a store's tokens; returns the share of tokens that it says as recorded."""
    data = Sequences(folder)
    device = model.head.weight.device
    dice = torch.Generator(device).manual_seed(seed)
    entries = sorted(
        (e for e in data.store.entries if e.name in data.labels), key=lambda e: e.samples
    )
    same = count = 0
    with data.store.fill(SAID, "int16", 960) as said:
        said[:] = data.tokens
        for begin in range(0, len(entries), size):
            part = entries[begin : begin + size]
            rows = [data.clip(entry) for entry in part]
            drawn = _drawn(model, rows, temperature, dice, device)
            for entry, row, tokens in zip(part, rows, drawn, strict=True):
                first, length = entry.start // 960, len(row.tokens)
                said[first : first + length] = tokens[:length]
                same += int((tokens[:length] == np.array(row.tokens)).sum())
                count += length
            if progress:
                progress(min(begin + size, len(entries)), len(entries))
    return same / max(1, count)


def _drawn(
    model: GPT, rows: list[Row], temperature: float, dice: torch.Generator, device: torch.device
) -> np.ndarray:
    """One draw [B, S] of every token of padded rows, teacher-forced."""
    phones, length = max(len(r.ids) for r in rows), max(len(r.tokens) for r in rows)
    ids = torch.zeros(len(rows), phones, dtype=torch.long)
    tokens = torch.zeros(len(rows), length, dtype=torch.long)
    pointer = torch.zeros(len(rows), length + 1, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        tokens[i, : len(row.tokens)] = torch.tensor(row.tokens)
        pointer[i, : len(row.pointer)] = torch.tensor(row.pointer)
        pointer[i, len(row.pointer) :] = len(row.ids) - 1
    lengths = torch.tensor([len(r.ids) for r in rows])
    ids, tokens, pointer, lengths = (x.to(device) for x in (ids, tokens, pointer, lengths))
    bias = guided_bias(model, pointer, phones, dice)
    with half(device):
        logits = model(ids, lengths, tokens, None, None, bias)[:, :length, : model.end].float()
    odds = (logits / temperature).softmax(-1).flatten(0, 1)
    return torch.multinomial(odds, 1, generator=dice).view(len(rows), length).cpu().numpy()
