"""Raw text -> hidden states of a GPT-2: byte-level BPE, spaces and punctuation kept.

The encoder is Hugging Face's `GPT2Model`: fresh, from a local folder, or from the hub by name. Where none is in
reach it is trained as a small language model on our own texts first (`train.article`), so that freezing it
means something. In: a text. Out: ids [P], their spans in the text, hidden states [1, P, H].
Needs the package transformers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import ArticleConfig

START = "<|endoftext|>"
LONGEST = 240  # ids of one breath


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError(
            "the article preset needs the transformers library: pip install 'voxray[gptsovits]'"
        ) from error


@dataclass(frozen=True)
class Read:
    """Ids [P] of a text and the characters [P] of spans that each covers."""

    ids: list[int]
    spans: list[tuple[int, int]]


class BytePairs:
    """A byte-level BPE; `learn` makes one from texts, `load` reads `tokenizer.json`."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @staticmethod
    def learn(texts: Iterable[str], size: int) -> BytePairs:
        """At most `size` symbols; the 256 bytes and the start mark are always among them."""
        library = _package("tokenizers")
        tokenizer = library.Tokenizer(library.models.BPE())
        tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=[START],
            initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return BytePairs(tokenizer)

    @staticmethod
    def load(path: Path) -> BytePairs:
        """From a `tokenizer.json`."""
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; copy the whole folder")
        return BytePairs(_package("tokenizers").Tokenizer.from_file(str(path)))

    def save(self, path: Path) -> None:
        """Write `tokenizer.json`, whole or not at all."""
        beside = path.with_name(f".{path.name}.part")
        beside.write_text(self._tokenizer.to_str(), encoding="utf-8")
        beside.replace(path)

    @property
    def size(self) -> int:
        """How many symbols."""
        return self._tokenizer.get_vocab_size()

    @property
    def start(self) -> int:
        """The id that stands before every text."""
        return self._tokenizer.token_to_id(START)

    def __call__(self, text: str) -> Read:
        """The start mark, then the text's symbols."""
        found = self._tokenizer.encode(text)
        return Read([self.start, *found.ids], [(0, 0), *found.offsets])


def fresh_encoder(config: ArticleConfig) -> nn.Module:
    """A GPT-2 with random weights."""
    library = _package("transformers")
    return library.GPT2Model(
        library.GPT2Config(
            vocab_size=config.text_symbols,
            n_positions=config.text_positions,
            n_embd=config.text_hidden,
            n_layer=config.text_layers,
            n_head=config.text_heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    )


def known_encoder(name: str) -> tuple[nn.Module, BytePairs]:
    """A trained GPT-2 and its tokenizer from a local folder, or from the hub where it is in reach."""
    library = _package("transformers")
    try:
        model = library.GPT2Model.from_pretrained(name)
        tokenizer = library.AutoTokenizer.from_pretrained(name).backend_tokenizer
    except (OSError, ValueError) as error:
        raise OSError(
            f"no GPT-2 in {name!r}: {' '.join(str(error).split())[:120]}; "
            "give a local folder, or none to train a small one on the texts"
        ) from error
    return model, BytePairs(tokenizer)


def hidden_states(encoder: nn.Module, ids: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Ids [B, P], right-padded, -> hidden [B, P, H]."""
    mask = None
    if lengths is not None:
        place = torch.arange(ids.shape[1], device=ids.device)
        mask = (place[None] < lengths[:, None]).long()
    return encoder(input_ids=ids, attention_mask=mask).last_hidden_state
