"""Few-shot tuning of a published SoVITS stage (v1 to v4), clip by clip.

v1, v2, Pro: the posterior hears a recording; what the decoder makes of its sample is compared with it (log-mel), and its
distance from the prior behind the flow is paid for (VITS, Kim et al. 2021, eq. 1, 2 and 4). The decoder stands still:
without the discriminators that made it sharp it would only blur. The posterior is in the pretrained files; those of
tuned voices have lost it.
v3, v4: flow matching on the recording's mel, which goes on from a prompt of up to two thirds of it (Lipman et al. 2023,
eq. 23); a share of the steps learns to make two steps in one (shortcut models, Frans et al. 2024). The transformer's
attention gets adapters; bridge and speaker encoder learn in full; the prior and the vocoder stand still.
Clips are taken whole, one at a time: nothing is padded, so no mask can be wrong. In: a store of `voice_store`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from voxray import checkpoint
from voxray.audio.published import (
    family_spectrogram,
    loss_mel,
    scaled,
    sinc_resample,
    vocoder_mel,
)
from voxray.bundle import RATE as HEARD_RATE
from voxray.bundle import Bundle, FamilyBundle
from voxray.config import GeneratorConfig, PosteriorConfig
from voxray.models.generator import Generator
from voxray.models.generator_matching import MatchingGenerator
from voxray.models.posterior import Posterior

from .adapters import adapt
from .label import read_labels
from .losses import kl_divergence
from .parts import Check, Part, Tuning
from .store import Entry, Store
from .voice_store import WIDE, WIDE_RATE

RATE = 1e-4  # of the published recipe, in place of `Tuning.generator_rate`
TEXT_SCALE = 0.4  # share of it at which the text encoder and its attention learn, as published
MEL_WEIGHT = 45.0
SLICE = 32  # frames that are decoded: 0.64 s
RANK = 32  # of the transformer's adapters, where none is asked for
PROMPT_SHARE = 2 / 3  # of a clip, at most
CONSISTENT = 0.3  # share of the steps that learn self-consistency
HALVINGS = (2, 8)  # their steps: 1/4 .. 1/128
CHECKED = 4  # draws of a held-out clip


@dataclass(frozen=True)
class Clip:
    """One recording: wave at 32 kHz [1, N], tokens [1, S], phonemes [1, P], verification embedding [1, E] or None."""

    wave: Tensor
    tokens: Tensor
    ids: Tensor
    embedding: Tensor | None


class Clips:
    """The clips of a split of a store, whole."""

    def __init__(self, folder: Path, bundle: FamilyBundle, split: str) -> None:
        if not (folder / WIDE).is_file():
            raise ValueError(
                f"{folder} holds no waves at 32 kHz: prepare it again, in a new folder"
            )
        self.store = Store(folder)
        self.bundle = bundle
        self.labels = read_labels(folder, ("labels.jsonl",))
        self.entries = [e for e in self.store.entries if e.split == split and e.name in self.labels]
        if not self.entries:
            raise ValueError(f"the store {folder} has no {split} clips")
        self._wide = np.memmap(folder / WIDE, dtype=np.int16, mode="r")
        self._tokens = self.store.array("tokens.i16", "int16", 960)
        self._known: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, number: int) -> Clip:
        entry = self.entries[number]
        first, count = entry.start // 960, entry.samples // 960
        cut = self._wide[entry.start * 4 // 3 : (entry.start + entry.samples) * 4 // 3]
        wave = torch.from_numpy(cut.astype(np.float32) / 32768)[None]
        tokens = torch.from_numpy(self._tokens[first : first + count].astype(np.int64))[None]
        ids = torch.tensor(self.labels[entry.name].ids.tolist())[None]
        return Clip(wave, tokens, ids, self._embedding(entry, wave))

    def _embedding(self, entry: Entry, wave: Tensor) -> Tensor | None:
        """What the verification network hears of a clip, of models that want it."""
        if self.bundle.generator.fusion is None:
            return None
        if entry.name not in self._known:
            with torch.inference_mode():
                heard = sinc_resample(wave, WIDE_RATE, HEARD_RATE)
                known = self.bundle.encoders.verification.embed(heard)
            self._known[entry.name] = known.clone()
        return self._known[entry.name]


def published_posterior(folder: Path, bundle: Bundle) -> Posterior | None:
    """The posterior encoder among a converted model's weights; None where its file held none."""
    config = bundle.config.generator
    if not isinstance(config, GeneratorConfig) or not isinstance(config.posterior, PosteriorConfig):
        return None
    _, state = checkpoint.load(folder)
    own = checkpoint.part(checkpoint.part(state, "tuning"), "posterior")
    if not own:
        return None
    posterior = Posterior(config.posterior)
    posterior.load_state_dict(own)
    return posterior.eval()


def check_posterior(posterior: nn.Module | None) -> Posterior:
    """ValueError where there is none."""
    if isinstance(posterior, Posterior):
        return posterior
    raise ValueError(
        "the SoVITS file of this model holds no posterior encoder (enc_q), as files of tuned voices do: convert "
        "the pretrained s2G file to tune it, or tune the GPT alone (--only gpt)"
    )


def published_part(bundle: Bundle, store: Path, config: Tuning, check: Check | None) -> Part:
    """The SoVITS stage of a published model; ValueError where what its training needs is missing."""
    assert isinstance(bundle, FamilyBundle)
    model = bundle.generator
    kind = _Matching(model) if isinstance(model, MatchingGenerator) else _Variational(model)
    data, held = Clips(store, bundle, "train"), Clips(store, bundle, "dev")

    def losses(number: int) -> dict[str, Tensor]:
        dice = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
        chosen = torch.randint(len(data), (config.batch,), generator=dice).tolist()
        return _mean([kind.losses(data[clip], dice) for clip in chosen])

    def loss_on_held() -> dict[str, float]:
        drawn = [(clip, torch.Generator().manual_seed(n)) for clip in range(len(held)) for n in range(CHECKED)]  # fmt: skip
        rows = _mean([kind.losses(held[clip], dice) for clip, dice in drawn])
        total = sum(weight * float(rows[name]) for name, weight in kind.weights.items())
        return {"score": -total, **{name: float(value) for name, value in rows.items()}}

    return Part(
        "generator", model, losses, kind.weights, config.generator_steps, RATE,
        check or loss_on_held, kind.learns,
    )  # fmt: skip


def _mean(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([row[name] for row in rows]).mean() for name in rows[0]}


class _Variational:
    """v1, v2, v2Pro, v2ProPlus."""

    def __init__(self, model: Generator) -> None:
        self.model, self.posterior = model, check_posterior(model.posterior)
        self.weights = {"mel": MEL_WEIGHT, "kl": 1.0}

    def losses(self, clip: Clip, dice: torch.Generator) -> dict[str, Tensor]:
        """Distance of the log-mel of what is decoded from the recording's, and KL, nats a frame."""
        model, frames = self.model, 2 * clip.tokens.shape[1]
        lengths = torch.tensor([frames])
        spectrum = family_spectrogram(clip.wave)[:, :, :frames]
        speaker = model.speaker_vector(clip.wave, clip.embedding)[..., None]  # [1, G, 1]
        noise = torch.randn(1, self.posterior.config.latent_channels, frames, generator=dice)
        own = self.posterior(spectrum, lengths, speaker.detach(), noise)
        placed = model.flow(own.z, own.mask, speaker)
        phones = torch.tensor([clip.ids.shape[1]])
        said = model.prior(model.features(clip.tokens), lengths, clip.ids, phones, speaker)
        size = min(SLICE, frames)
        first = int(torch.randint(frames - size + 1, (1,), generator=dice))
        made = model.decoder(own.z[:, :, first : first + size], speaker)[:, 0]  # [1, N]
        hop = model.config.hop
        true = clip.wave[:, first * hop : (first + size) * hop]
        return {
            "mel": (loss_mel(made) - loss_mel(true)).abs().mean(),
            "kl": kl_divergence(placed, own.log_std, said.mean, said.log_std, own.mask),
        }

    def learns(self, config: Tuning) -> list[dict[str, Any]]:
        """All but the decoder, the text encoder and its attention at a lower rate; of a rank: adapters."""
        model = self.model
        if config.rank:
            scale = config.adapter_rate / RATE
            return [{"params": adapt(model, config.rank, config.seed), "scale": scale}]
        model.requires_grad_(True)
        for name in ("decoder", *config.still):
            if isinstance(getattr(model, name, None), nn.Module):
                getattr(model, name).requires_grad_(False)
        prior = model.prior
        slow = (prior.text_embedding, prior.text_encoder, prior.cross_content, prior.cross_text,
                prior.attn, prior.speaker_in, prior.cross_out)  # fmt: skip
        text = {id(p) for part in slow for p in part.parameters()}
        learnt = [p for p in model.parameters() if p.requires_grad]
        return [
            {"params": [p for p in learnt if id(p) not in text], "scale": 1.0},
            {"params": [p for p in learnt if id(p) in text], "scale": TEXT_SCALE},
        ]


class _Matching:
    """v3, v4."""

    def __init__(self, model: MatchingGenerator) -> None:
        self.model = model
        self.weights = {"velocity": 1.0}

    @cached_property
    def _maps(self) -> list[nn.Module]:
        return [block.attn for block in self.model.cfm.dit.blocks]  # type: ignore[union-attr, misc]

    def losses(self, clip: Clip, dice: torch.Generator) -> dict[str, Tensor]:
        """Mean square of what the velocity is wrong by, behind the prompt."""
        model = self.model
        wave = sinc_resample(clip.wave, WIDE_RATE, model.config.mel_rate)
        mel = scaled(vocoder_mel(wave, model.config.mel_rate))  # [1, M, T]
        speaker = model.speaker_vector(clip.wave)
        condition = model.condition(clip.tokens, clip.ids, speaker)  # [1, W, T]
        frames = min(mel.shape[2], condition.shape[2], model.config.window_frames)
        mel, condition = mel[:, :, :frames], condition[:, :, :frames]
        given = int(torch.rand(1, generator=dice) * PROMPT_SHARE * frames)
        known = model.cfm.conditions(condition, mel[:, :, :given], 0.0)
        goal = mel.transpose(1, 2)  # [1, T, M]
        start = torch.randn(goal.shape, generator=dice)
        time = float(torch.rand(1, generator=dice))
        x = self._free(start + time * (goal - start), given)
        target, step = goal - start, 0.0
        if float(torch.rand(1, generator=dice)) < CONSISTENT:
            half = 2.0 ** -int(torch.randint(*HALVINGS, (1,), generator=dice))
            time = min(time, 1.0 - 2 * half)
            x = self._free(start + time * (goal - start), given)
            with torch.no_grad():
                one = model.cfm.velocity_at(x, known, time, half)
                further = self._free(x + half * one, given)
                target = (one + model.cfm.velocity_at(further, known, time + half, half)) / 2
            step = 2 * half
        said = model.cfm.velocity_at(x, known, time, step)
        return {"velocity": (said - target)[:, given:].square().mean()}

    @staticmethod
    def _free(x: Tensor, given: int) -> Tensor:
        """x [1, T, M] with nothing where the prompt is, as when speaking."""
        held = (torch.arange(x.shape[1]) < given)[:, None]
        return x.masked_fill(held, 0.0)

    def learns(self, config: Tuning) -> list[dict[str, Any]]:
        """Adapters of the transformer's attention; bridge and speaker encoder in full."""
        model = self.model
        model.requires_grad_(False)
        adapters = [
            parameter
            for layer, attention in enumerate(self._maps)
            for parameter in adapt(attention, config.rank or RANK, config.seed + layer)
        ]
        beside = [p for part in (model.bridge, model.speaker) for p in part.parameters()]
        for parameter in beside:
            parameter.requires_grad_(True)
        return [
            {"params": adapters, "scale": config.adapter_rate / RATE},
            {"params": beside, "scale": 1.0},
        ]
