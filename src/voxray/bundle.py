"""Everything that speaks, in one folder: GPT, generator, content encoder, quantiser and their config.

`Bundle.load(folder)` reads `config.json` + safetensors through the one door; `Bundle.builtin()` is
the model that ships with the package. In: a folder. Out: modules in eval mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from voxray import checkpoint
from voxray.config import BundleConfig
from voxray.models.generator import Generator
from voxray.models.gpt import GPT
from voxray.text.symbols import SYMBOL_TO_ID
from voxray.tokens.content import ContentEncoder
from voxray.tokens.quantiser import Quantiser

BUILTIN = Path(__file__).parent / "builtin"
PARTS = ("gpt", "generator", "content", "quantiser")


@dataclass
class Bundle:
    """The modules of one model, ready to speak."""

    config: BundleConfig
    gpt: GPT
    generator: Generator
    content: ContentEncoder
    quantiser: Quantiser

    @classmethod
    def build(cls, config: BundleConfig) -> Bundle:
        """Fresh random weights (tests, training)."""
        return cls(
            config,
            GPT(config.gpt).eval(),
            Generator(config.generator, training_parts=False).eval(),
            ContentEncoder(config.content).eval(),
            Quantiser(config.content).eval(),
        )

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read a bundle; ValueError or OSError says what is wrong with the folder."""
        raw, state = checkpoint.load(folder)
        bundle = cls.build(BundleConfig(**raw))
        for part in PARTS:
            checkpoint.restore(getattr(bundle, part), state, part)
        return bundle

    @classmethod
    def builtin(cls) -> Bundle:
        """The model in the package, read once."""
        return _builtin()

    def save(self, folder: Path) -> None:
        """Write config and fp16 weights."""
        state = checkpoint.joined(**{part: getattr(self, part).state_dict() for part in PARTS})
        checkpoint.save(folder, self.config.model_dump(mode="json"), state, half=True)

    @property
    def name(self) -> str:
        """What the model is called in records."""
        return self.config.name

    @property
    def fingerprint(self) -> str:
        """Of the text pipeline that the model was trained with; empty: unknown."""
        return self.config.fingerprint

    @property
    def silent_text(self) -> list[int]:
        """Phonemes to give the prior when the words are unknown (voice conversion)."""
        return [SYMBOL_TO_ID["SP"]]

    @torch.inference_mode()
    def encode(self, wave: Tensor) -> Tensor:
        """Speech [N] at 16 kHz -> semantic tokens [N // 640]; 20 s at a time."""
        codes = []
        for part in wave.split(20 * 16_000):
            if len(part) >= 640:
                vectors = self.quantiser.project(self.content(part[None]))
                codes.append(self.quantiser.codes(vectors)[0])
        return torch.cat(codes) if codes else torch.zeros(0, dtype=torch.long)


@cache
def _builtin() -> Bundle:
    return Bundle.load(BUILTIN / "mini")
