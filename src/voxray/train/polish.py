"""`voxray train generator`, fourth part: the decoder tuned on what the prior says, against discriminators.

When speaking, the decoder reads the prior's mean, which is smoother than any recording's latents. Here
it learns to make recordings out of that: every step predicts the latents of a segment from its tokens
(pitch latents are the true ones, so that both waves sing in step), decodes them, and compares with the
recording: spectral loss, least-squares GAN and feature matching (Kong et al. 2020, HiFi-GAN, eq. 4-7)
with the small spectral discriminators of UnivNet (Jang et al. 2021). All but the decoder stands still.

With `prior_scale` the prior, the flow and the speaker encoder learn along, and with `likeness` the wave made
has to sound like the reference's speaker to a pretrained speaker encoder (speaker consistency loss, Casanova et
al. 2022, YourTTS, eq. 1; segments of at least 1.6 s). `anchor` keeps the prior near the recording's latents, its
pitch and voicing above all: the decoder is given the true ones, so that nothing else holds them. With `words` it has to sound to the content encoder as the recording
does: its vectors before quantisation are compared, so that no likeness is bought with words. `crossed` rows say one speaker's words in
another's voice (`crossed.py`).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from voxray.config import SpectralDiscriminatorConfig
from voxray.models.discriminators import SpectralDiscriminators
from voxray.models.generator import Generator

from .crossed import crossed, crossed_losses
from .expected import NONE, Shares, anchor_loss, correction_of, expected_latents
from .feed import Feed, half, place
from .finished import content_parts
from .listening import Listener, likeness_loss, words_loss
from .losses import judged_losses
from .prior import PriorTraining, remember, withheld
from .replay import Steps
from .run import Run, Say, Task, fit, silent
from .segments import Aligned, Size
from .speakers import SpeakerTeacher
from .training_file import judge_state


class PolishTraining(PriorTraining):
    """Settings of the fourth part of a generator run."""

    steps: int = 1500
    batch: int = 6
    segment_tokens: int = 24
    max_phones: int = 32
    rate: float = 4e-4
    discriminators: SpectralDiscriminatorConfig = SpectralDiscriminatorConfig()
    judge: str = ""  # a run, or a model, whose discriminators go on; those that it lacks are new
    spectrum: float = 15.0  # weight of the spectral loss
    adversary: float = 1.0  # of the GAN's and the feature matching's
    prior_scale: float = 0.0  # share of the rate at which prior, flow and speaker encoder learn
    likeness: float = 0.0  # weight of the speaker consistency loss
    teacher: str = ""  # its encoder: resemblyzer's pretrained.pt
    words: float = (
        0.0  # weight of the content encoder's distance from what it hears in the recording
    )
    content: str = ""  # its run: a folder made by `voxray train content` or `restart`
    corrected: float = 0.0  # share of rows as corrected by what is known of the voice
    true: float = 0.0  # share of rows whose latents are the recording's own
    anchor: float = 0.0  # weight of the prior's own error in log-mel, pitch and voicing
    crossed: int = 0  # rows a step, beside the batch, of one speaker's words in another's voice
    favourites: tuple[str, ...] = ()  # speakers of the store, as built-in voices are
    favoured: float = 0.5  # share of rows drawn from them, where there are some
    alone: int = 100  # steps that the discriminators learn alone before they are listened to
    replay: bool = (
        False  # on a GPU, steps from a recording; corrected are whole steps, not rows of each
    )


PLAIN = 13  # tensors of a batch without corrections


@dataclass(frozen=True)
class PolishKind:
    """What a recorded step does: whether the GAN counts, and whether all rows are corrected ones."""

    heard: bool
    corrected: bool


def polish_losses(
    model: Generator,
    judge: SpectralDiscriminators,
    batch: list[Tensor],
    dice: torch.Generator | None,
    heard: bool,
    learn: bool = False,
    spoil: float = 0.0,
    shares: Shares = NONE,
    anchored: bool = False,
    correction: Tensor | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Losses of decoder and discriminators, and the waves [B, N] made; `heard`: the GAN counts; `learn`: the
    prior gets a gradient; `shares`: of rows that are made otherwise; `anchored`: the prior's own error, too.
    """
    wave, f0, band = batch[0], batch[5], batch[6]
    expected = expected_latents(model, batch, dice, learn, spoil, shares, correction)
    source = torch.randn(wave.shape, generator=dice, device=wave.device)
    with half(wave.device):
        made = model.decoder(expected.latents, expected.speaker, source, f0).audio
    parts = judged_losses(judge, made, wave, band, heard)
    if anchored:
        parts["anchor"] = anchor_loss(model, batch, expected, dice)
    return parts, made


class Polishing:
    """What a run of this part is made of: model and judge, who listens, and what a step asks of them."""

    def __init__(self, folder: Path, model: Generator, config: PolishTraining) -> None:
        torch.manual_seed(config.seed)  # initial weights of the discriminators only
        self.config, self.device = config, place(config)
        self.model = model.to(self.device)
        self.judge = begun_judge(config).to(self.device)
        self.data, self.held = Aligned(folder), Aligned(folder, "dev")
        if config.favourites:
            self.data.favour(config.favourites, config.favoured)
        remember(folder, model, self.data, self.held)
        self.learn = config.prior_scale > 0
        self.slow = (model.prior, model.flow, model.speaker)
        for part in self.slow:
            part.requires_grad_(self.learn).eval()  # without dropout, as when speaking
        self.teacher = who_knows(config, self.data).to(self.device) if config.likeness else None
        self.listener = who_listens(config).to(self.device) if config.words else None
        if config.crossed and (self.teacher is None or self.listener is None):
            raise ValueError("crossed: nobody listens; give `likeness` and `words` a weight")
        self.spoken = copy.copy(self.data)  # what is said in another's voice: known to the word
        self.spoken.entries = [e for e in self.data.entries if e.synthetic] or self.data.entries
        self.spoken.favourites = []
        self.crossing = Size(config.crossed, config.segment_tokens, config.max_phones)
        self.feed = Feed(self._make, config, self.device)

    def _make(self, number: int) -> list[Tensor]:
        dice = np.random.default_rng((self.config.seed, number))
        batch = self.data.aligned(self.config, dice, self.config.people)
        if not self.config.crossed:
            return batch
        voices = self.data.aligned(self.crossing, dice, self.config.people)
        return [*batch, *crossed(self.spoken.aligned(self.crossing, dice), voices)]

    def _all_losses(
        self, batch: list[Tensor], dice: torch.Generator | None, heard: bool, shares: Shares,
        correction: Tensor | None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        config, learn = self.config, self.learn
        half_way = len(batch) // 2 if config.crossed else len(batch)
        batch, others = batch[:half_way], batch[half_way:]
        if learn and config.silent:
            batch = withheld(batch, config.silent, dice)
        rows, made = polish_losses(
            self.model, self.judge, batch, dice, heard, learn, config.spoil if learn else 0.0,
            shares, learn and config.anchor > 0, correction,
        )  # fmt: skip
        if self.teacher is not None:
            rows["likeness"] = likeness_loss(self.teacher, made, batch[8])
        if self.listener is not None:
            rows["words"] = words_loss(self.listener, made, batch[0])
        if others and self.listener is not None and self.teacher is not None:
            rows |= crossed_losses(self.model, others, dice, self.listener, self.teacher)
        return rows

    def losses(self, number: int) -> dict[str, Tensor]:
        """Of micro-batch n."""
        dice = torch.Generator(self.device).manual_seed(number)
        shares = Shares(self.config.corrected, self.config.true)
        return self._all_losses(self.feed(number), dice, number >= self.config.alone, shares)

    @property
    def steps(self) -> Steps:
        """The same, to be recorded."""
        return Steps(self._batch, self._kind, self._losses_of)

    def _kind(self, number: int) -> PolishKind:
        heard = number >= self.config.alone
        return PolishKind(heard, heard and _now(number, self.config.corrected))

    def _batch(self, number: int) -> list[Tensor]:
        batch = self.feed(number)
        corrected = self._kind(number).corrected
        return [*batch, correction_of(self.model, batch)] if corrected else batch

    def _losses_of(self, batch: list[Tensor], kind: PolishKind) -> dict[str, Tensor]:
        shares = Shares(1.0 if kind.corrected else 0.0, self.config.true)
        plain = 2 * PLAIN if self.config.crossed else PLAIN
        batch, more = batch[:plain], batch[plain:]
        return self._all_losses(batch, None, kind.heard, shares, more[0] if more else None)

    def validate(self, run: Run) -> dict[str, float]:
        """Losses of the held-out clips; a sample for the board."""
        batch = self.feed.moved(self.held.aligned(self.config, np.random.default_rng(0)))
        dice = torch.Generator(self.device).manual_seed(0)
        rows, audio = polish_losses(self.model, self.judge, batch, dice, True)
        run.hear("polished", audio[0].float().cpu().numpy(), self.model.config.sample_rate)
        return {"loss": float(rows["spectrum"]), **{k: float(v) for k, v in rows.items()}}


def train_polish(
    folder: Path, out: Path, model: Generator, config: PolishTraining, say: Say = silent
) -> Generator:
    """Train on a store with tokens and labels; `model` has a trained prior."""
    own = Polishing(folder, model, config)
    run = Run(out, {"generator": model, "judge": own.judge})
    slow = [p for part in own.slow for p in part.parameters()]
    task = Task(
        [
            {"params": list(model.decoder.parameters())},
            {"params": list(own.judge.parameters())},
            {"params": slow, "scale": config.prior_scale},
        ],
        own.losses,
        loss_weights(config),
        validate=partial(own.validate, run) if own.held.entries else None,
        betas=(0.8, 0.99),
        steps=own.steps if config.replay else None,
    )
    fit(run, task, config, say)
    return model


def _now(number: int, share: float) -> bool:
    """Whether step `number` is one of those that this share of steps are, evenly spread."""
    return int((number + 1) * share) > int(number * share)


def begun_judge(config: PolishTraining) -> SpectralDiscriminators:
    """The discriminators, as far as they are known from before; ValueError where those are of other sizes."""
    judge = SpectralDiscriminators(config.discriminators)
    if config.judge:
        try:
            judge.load_state_dict(judge_state(Path(config.judge)), strict=False)
        except RuntimeError as error:
            raise ValueError(
                f"the discriminators of {config.judge} are of other sizes: {error}"
            ) from error
    return judge


def loss_weights(config: PolishTraining) -> dict[str, float]:
    """What each loss counts; those without weight are left out."""
    weights = {
        "spectrum": config.spectrum,
        "adversary": config.adversary,
        "features": config.adversary,
        "discriminator": 1.0,
    }
    wanted = {"likeness": config.likeness, "words": config.words}
    if config.crossed:
        wanted |= {"crossed words": config.words, "crossed likeness": config.likeness}
    if config.prior_scale > 0:
        wanted["anchor"] = config.anchor
    return {**weights, **{name: weight for name, weight in wanted.items() if weight}}


def who_listens(config: PolishTraining) -> Listener:
    """The content encoder whose opinion counts; ValueError without it."""
    if not config.content:
        raise ValueError("words: give `content`, the folder of the content encoder's run")
    encoder, quantiser, _ = content_parts(Path(config.content))
    return Listener(encoder, quantiser)


def who_knows(config: PolishTraining, data: Aligned) -> SpeakerTeacher:
    """The encoder whose opinion counts; ValueError without it, or where segments are too short for it."""
    if not config.teacher or not data.taught:
        raise ValueError(
            "likeness: give `teacher`, resemblyzer's pretrained.pt, and write speakers.npy"
        )
    if config.segment_tokens < 40:
        raise ValueError(f"likeness: segment_tokens is {config.segment_tokens}; 40 (1.6 s) or more")
    teacher = SpeakerTeacher.load(Path(config.teacher)).requires_grad_(False)
    return teacher.train()  # no dropout in it; on a GPU an LSTM passes a gradient only so
