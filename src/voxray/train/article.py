"""`voxray train article`: the textbook form from raw text to speech, on the same store as everything else.

1. `lm`: a GPT-2 learns to predict the texts' own next symbols, so that it means something when frozen.
2. `sovits`: everything but the text encoder, by spectral loss, the flow's KL, durations and commitment; the
   text encoder stands still until the validation loss is flat (`fit`'s two stages), then all is tuned
   jointly at a lower rate. `freeze: false` trains all at once, to compare.
Out: runs in OUT/lm and OUT/sovits, the model in OUT/model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxray.article.bundle import TOKENIZER, ArticleBundle
from voxray.article.text import BytePairs, fresh_encoder, hidden_states, known_encoder
from voxray.config import ArticleConfig
from voxray.models.article import Article, ArticleOutput, duration_loss

from .autoencoder import spectral_loss
from .losses import kl_divergence
from .run import Run, Say, Schedule, Task, fit, leads, silent
from .segments import Segments
from .store import Entry, Store


class LanguageTraining(Schedule):
    """Settings of the text encoder's own training."""

    steps: int = 400
    batch: int = 16
    longest: int = 96
    rate: float = 1e-3


class ArticleTraining(Schedule):
    """Settings of the speech half. Whole clips of at most `longest_seconds`."""

    model: ArticleConfig = ArticleConfig()
    encoder: str = ""  # a local folder or hub name of a GPT-2; empty: trained on the texts
    lm: LanguageTraining = LanguageTraining()
    steps: int = 3000
    batch: int = 4
    longest_seconds: float = 6.0
    rate: float = 5e-4
    freeze: bool = True  # the text encoder stands still until the loss is flat
    kl: float = 0.05
    duration: float = 0.5
    validate_every: int = 100
    held: int = 4  # batches that a validation takes the mean of


def train_article(
    data: Path, out: Path, config: ArticleTraining, say: Say = silent
) -> ArticleBundle:
    """All stages, each resumed from its last step; returns the model and saves it in OUT/model."""
    torch.manual_seed(config.seed)  # initial weights only
    encoder, tokenizer, model = _encoder(data, out, config, say)
    article = Article(model)
    clips, held = Clips(data, "train", tokenizer, config), Clips(data, "dev", tokenizer, config)
    losses = _losses(article, encoder, clips, config)

    def validate() -> dict[str, float]:
        found = [
            article_losses(article, encoder, held.batch(np.random.default_rng((0, n))), n)
            for n in range(config.held)
        ]
        rows = {name: float(np.mean([float(f[name]) for f in found])) for name in found[0]}
        return {"loss": rows["spectrum"] + config.kl * rows["kl"], **rows}

    task = Task(
        [
            {"params": list(article.parameters())},
            {"params": list(encoder.parameters()), "scale": 0.3},
        ],
        losses,
        {"spectrum": 1.0, "kl": config.kl, "durations": config.duration, "commitment": 1.0},
        later=(encoder,) if config.freeze else (),
        validate=validate if held.entries else None,
        betas=(0.8, 0.99),
    )
    fit(Run(out / "sovits", {"article": article, "encoder": encoder}), task, config, say)
    training = (
        f"{config.steps} steps, text encoder {'frozen first' if config.freeze else 'never frozen'}"
    )
    model = model.model_copy(update={"training": training})
    made = ArticleBundle(model, encoder.eval(), article.eval(), tokenizer)
    if leads():
        made.save(out / "model")
    return made


def _encoder(
    data: Path, out: Path, config: ArticleTraining, say: Say
) -> tuple[nn.Module, BytePairs, ArticleConfig]:
    """The text encoder that was named, or one trained on the store's texts."""
    if config.encoder:
        encoder, tokenizer = known_encoder(config.encoder)
        found = encoder.config
        model = config.model.model_copy(
            update={
                "text_symbols": found.vocab_size, "text_hidden": found.n_embd,
                "text_layers": found.n_layer, "text_heads": found.n_head,
                "text_positions": found.n_positions,
            }
        )  # fmt: skip
        return encoder, tokenizer, model
    texts = [e.text for e in Store(data).entries if e.text]
    if not texts:
        raise ValueError(f"{data} holds no texts")
    out.mkdir(parents=True, exist_ok=True)
    kept = out / TOKENIZER
    tokenizer = BytePairs.load(kept) if kept.is_file() else None
    if tokenizer is None:
        tokenizer = BytePairs.learn(texts, config.model.text_symbols)
        if leads():
            tokenizer.save(kept)
    encoder = fresh_encoder(config.model)
    train_language(encoder, tokenizer, texts, out / "lm", config.lm, say)
    return encoder, tokenizer, config.model


def train_language(
    encoder: nn.Module, tokenizer: BytePairs, texts: Sequence[str], out: Path,
    config: LanguageTraining, say: Say = silent,
) -> None:  # fmt: skip
    """Next-symbol prediction with tied embeddings; a twentieth of the texts is held out."""
    rows = [tokenizer(text).ids[: config.longest] for text in texts]
    rows = [row for row in rows if len(row) > 2]
    held, known = rows[::20], [row for n, row in enumerate(rows) if n % 20] or rows

    def losses(number: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((config.seed, number))
        chosen = [known[int(i)] for i in rng.integers(len(known), size=config.batch)]
        return {"text": language_loss(encoder, chosen)}

    def validate() -> dict[str, float]:
        return {"loss": float(language_loss(encoder, held[:64]))}

    task = Task([{"params": list(encoder.parameters())}], losses, {"text": 1.0}, validate=validate)
    fit(Run(out, {"encoder": encoder}), task, config, say)


def language_loss(encoder: nn.Module, rows: Sequence[Sequence[int]]) -> Tensor:
    """Mean cross-entropy of the next symbol."""
    ids, lengths = _padded(rows)
    hidden = hidden_states(encoder, ids[:, :-1], lengths - 1)
    logits = hidden @ encoder.wte.weight.t()  # [B, P - 1, V]
    place = torch.arange(ids.shape[1] - 1)
    targets = ids[:, 1:].masked_fill(place[None] >= lengths[:, None] - 1, -100)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
    for target, row in zip(ids, rows, strict=True):
        target[: len(row)] = torch.tensor(row)
    return ids, lengths


class Clips(Segments):
    """Whole clips with their texts as symbols; those with more symbols than frames are left out."""

    def __init__(
        self, folder: Path, split: str, tokenizer: BytePairs, config: ArticleTraining
    ) -> None:
        super().__init__(folder, split)
        self.config = config
        self.ids = {e.name: tokenizer(e.text).ids for e in self.entries if e.text}
        self.entries = [e for e in self.entries if self._fits(e)]
        self.by_speaker = {}
        for entry in self.entries:
            self.by_speaker.setdefault(entry.speaker, []).append(entry)

    def _fits(self, entry: Entry) -> bool:
        symbols = len(self.ids.get(entry.name, ()))
        short = entry.samples <= self.config.longest_seconds * 24_000
        return short and 2 < symbols <= entry.samples // 480

    def batch(self, rng: np.random.Generator) -> list[Tensor]:  # type: ignore[override]
        """ids [B, P], text lengths, wave [B, 480 T], F0 [B, 2T], frames [B], reference [B, M], band [B]."""
        if not self.entries:
            raise ValueError("no clip is short enough for the article preset")
        chosen = [
            self.entries[int(i)] for i in rng.integers(len(self.entries), size=self.config.batch)
        ]
        ids, text_lengths = _padded([self.ids[e.name] for e in chosen])
        frames = torch.tensor([e.samples // 480 for e in chosen])
        size = int(frames.max()) + int(frames.max()) % 2
        wave, f0 = torch.zeros(len(chosen), 480 * size), torch.zeros(len(chosen), 2 * size)
        for n, entry in enumerate(chosen):
            count = entry.samples // 480
            wave[n, : 480 * count] = torch.from_numpy(self.store.audio(entry)[: 480 * count])
            first = entry.start // 240
            track = self.f0[first : first + 2 * count].astype(np.float32)
            f0[n, : 2 * count] = torch.from_numpy(track)
        reference = np.stack([self.reference(entry, rng) for entry in chosen])
        bands = [min(1.0, e.band_hz * 0.95 / 12_000) for e in chosen]
        return [
            ids,
            text_lengths,
            wave,
            f0,
            frames,
            torch.from_numpy(reference),
            torch.tensor(bands),
        ]


def article_losses(
    article: Article, encoder: nn.Module, batch: list[Tensor], step: int
) -> dict[str, Tensor]:
    """Spectrum, KL behind the flow along the alignment, durations, commitment; used codes beside them."""
    ids, text_lengths, wave, f0, frames, reference, band = batch
    hidden = hidden_states(encoder, ids, text_lengths)
    dice = torch.Generator().manual_seed(step)
    out: ArticleOutput = article(hidden, text_lengths, wave, f0, frames, reference, dice)
    valid = torch.repeat_interleave(out.mask[:, 0], 480, dim=1)
    return {
        "spectrum": spectral_loss(out.audio * valid, wave, band),
        "kl": kl_divergence(
            out.placed, out.log_std, out.prior_mean, out.prior_log_std, out.mask
        ) / out.placed.shape[1],
        "durations": duration_loss(out),
        "commitment": out.commitment,
        "codes": torch.tensor(float(out.codes.unique().numel())),
    }  # fmt: skip


def _losses(article: Article, encoder: nn.Module, clips: Clips, config: ArticleTraining):  # noqa: ANN202
    def losses(number: int) -> dict[str, Tensor]:
        batch = clips.batch(np.random.default_rng((config.seed, number)))
        return article_losses(article, encoder, batch, number)

    return losses
