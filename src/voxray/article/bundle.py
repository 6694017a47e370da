"""A folder that holds an `article` model: config.json, weights, tokenizer.json; read through the one door.

`ArticleBundle.load(folder)` gives the modules in eval mode; `is_article(folder)` looks at the config alone.
It answers what voices and the engine ask of any model: its name, how it hears a reference, its rate.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import audio, checkpoint
from ..config import ArticleConfig
from ..models.article import Article
from ..text import Phonemes, TextPipeline
from .text import BytePairs, fresh_encoder

Wave = NDArray[np.float32]
TOKENIZER = "tokenizer.json"


def is_article(folder: Path) -> bool:
    """Whether a folder's config is one of this preset."""
    path = folder / checkpoint.CONFIG_FILE
    if not path.is_file():
        return False
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(raw, dict) and "article" in (raw.get("config") or {})


@dataclass
class ArticleBundle:
    """Text encoder, speech half and tokenizer of one model, ready to speak."""

    config: ArticleConfig
    encoder: nn.Module
    article: Article
    tokenizer: BytePairs
    weights_hash: str = ""  # SHA-256 of the file; empty: of no file

    trims: ClassVar[bool] = True
    streams: ClassVar[bool] = False
    windowed: ClassVar[bool] = False
    fingerprint: ClassVar[str] = ""
    languages: ClassVar[tuple[str, ...]] = ("auto", "en", "zh")

    @classmethod
    def build(cls, config: ArticleConfig, tokenizer: BytePairs) -> ArticleBundle:
        """Fresh random weights."""
        return cls(config, fresh_encoder(config).eval(), Article(config).eval(), tokenizer)

    @classmethod
    def load(cls, folder: Path) -> ArticleBundle:
        """Read a folder; ValueError or OSError says what is wrong with it."""
        raw, state = checkpoint.load(folder)
        if "article" not in raw:
            raise ValueError(f"{folder} holds no article model")
        made = cls.build(ArticleConfig(**raw["article"]), BytePairs.load(folder / TOKENIZER))
        checkpoint.restore(made.encoder, state, "gpt")
        checkpoint.restore(made.article, state, "generator")
        made.weights_hash = checkpoint.weights_hash(folder)
        return made

    @property
    def hears_as(self) -> str:
        """The model whose voices are this one's: itself."""
        return self.name

    def save(self, folder: Path, *, half: bool = True) -> None:
        """Write tokenizer, config and weights."""
        state = checkpoint.joined(
            gpt=self.encoder.state_dict(), generator=self.article.state_dict()
        )
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(folder / TOKENIZER)
        checkpoint.save(folder, {"article": self.config.model_dump(mode="json")}, state, half=half)

    @property
    def name(self) -> str:
        """What the model is called in records."""
        return self.config.name

    @property
    def generator(self) -> Any:
        """What the gate asks a generator for: its sample rate and speaker width."""
        speaker = self.config.speaker
        return SimpleNamespace(
            config=SimpleNamespace(sample_rate=self.config.decoder.rate, speaker=speaker)
        )

    @torch.inference_mode()
    def speaker_vector(self, wave: Wave, rate: int) -> Tensor:
        """Reference [N] -> speaker vector [G]."""
        heard = audio.resample(wave, rate, self.article.reference.rate)
        return self.article.speaker_vector(torch.from_numpy(heard)[None])[0].float().clone()

    def memory(self, wave: Wave, rate: int) -> None:
        """None: this preset looks nothing up in the reference."""

    def text_pipeline(self, lexicon: Path | None = None) -> TextPipeline:
        """Only to cut and check texts: the model reads them raw."""
        return TextPipeline(lexicon)

    def context(self, phonemes: Phonemes) -> Tensor | None:
        """None: the encoder is its own context."""
        return None

    def prompt_tokens(self, wave: Wave, rate: int) -> list[int]:
        """None: this preset has no semantic tokens, and no style reference."""
        raise ValueError(
            "an article model takes the timbre only: give the voice without transcript"
        )

    def prompt_mel(self, wave: Wave, rate: int) -> Tensor | None:
        """None."""
        return None
