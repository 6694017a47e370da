"""What each code sounds like: the odds of its phonemes, from the content encoder's readout.

A code of the quantiser stands for one phoneme most of the time, whatever stands beside it. `PhoneTable.of` asks the
readout about each code among its like, and keeps the likeliest phonemes. With it a model knows what it hears
without the readout, which only training needs. Kept in a file of its own beside the weights, `phones.safetensors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from .content import Readout

PHONES_FILE = "phones.safetensors"
MOST = 8  # phonemes kept of a code
AROUND = 3  # codes on either side that the readout may see


@dataclass(frozen=True)
class PhoneTable:
    """Of each code the likeliest phonemes [K, n] (int16) and their odds [K, n] (fp16)."""

    phones: Tensor
    odds: Tensor

    @classmethod
    @torch.inference_mode()
    def of(cls, readout: Readout, codebook: Tensor) -> PhoneTable:
        """From a readout and the code vectors [K, C]."""
        rows = []
        for part in codebook.float().split(128):
            logits, _ = readout(
                part[:, None].expand(-1, 2 * AROUND + 1, -1)
            )  # [B, 2 (2A+1), symbols]
            middle = logits[:, 2 * AROUND : 2 * AROUND + 2].softmax(-1).mean(1)
            rows.append(middle)
        odds, phones = torch.cat(rows).topk(min(MOST, rows[0].shape[1]), dim=1)
        return cls(phones.to(torch.int16).clone(), odds.half().clone())

    @classmethod
    def load(cls, folder: Path, codes: int, symbols: int) -> PhoneTable | None:
        """From a model's folder; None where there is none, ValueError where it is not this model's."""
        path = folder / PHONES_FILE
        if not path.is_file():
            return None
        try:
            state = safetensors.torch.load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged: copy the model's folder again") from error
        table = cls(*(state.get(name, torch.zeros(0)) for name in ("phones", "odds")))
        if not table._fits(codes, symbols):
            raise ValueError(f"{path} is of another model: copy the model's folder again")
        return table

    def save(self, folder: Path) -> None:
        """Beside a model's weights."""
        part = folder / f".{PHONES_FILE}.part"
        try:
            part.write_bytes(safetensors.torch.save({"phones": self.phones, "odds": self.odds}))
            part.replace(folder / PHONES_FILE)
        finally:
            part.unlink(missing_ok=True)

    def _fits(self, codes: int, symbols: int) -> bool:
        whole = not self.phones.dtype.is_floating_point and self.odds.dtype.is_floating_point
        shaped = self.phones.dim() == 2 and self.phones.shape == self.odds.shape
        if not (whole and shaped and len(self.phones) == codes and self.odds.isfinite().all()):
            return False
        return bool((self.phones >= 0).all() and (self.phones < symbols).all())

    def heard(self, codes: Tensor, wanted: Tensor) -> Tensor:
        """Codes [T] and phonemes [P] -> the odds [T, P] that a code is a phoneme."""
        same = self.phones[codes].long()[:, :, None] == wanted.long()  # [T, n, P]
        return (same * self.odds[codes].float()[:, :, None]).sum(1)
