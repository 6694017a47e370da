"""`voxray train generator`, fifth part: the decoder alone, on latents that were written before.

From a recording's own latents the decoder still loses a part of who speaks; it is the cheapest part to teach, if nothing
else has to be computed again in every step. So what the prior says of every clip is written once (`expected.f16`,
as in the fourth part, with references, spoilt tokens and corrections), and a step decodes stretches of it and of the
recordings' own latents, the latter at other speeds, too, as voices that nobody has (`warp`). Losses are those of the
fourth part: spectral, GAN, and, of what the prior said, who listens. What the prior said has its fine latents from other
moments of the reference: a decoder that has to make the recording out of them learns to pass over them. Without `compared`
only recordings' own latents have to come back as the recording; `faithful` asks of all that the sound has the latents told.
The decoder may have more layers than before, or know the speaker vector (FiLM, Perez et al. 2018, eq. 2): what is new begins
as nothing (Chen et al. 2016, Net2Net).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from voxray.audio import resample
from voxray.config import GeneratorConfig
from voxray.models.generator import Generator
from voxray.models.posterior_mel import PITCH_LATENTS, pitch_latents

from .expected import Shares, expected_latents
from .feed import Feed, half, place
from .listening import likeness_loss, told_loss, words_loss
from .losses import judged_losses
from .polish import PolishTraining, begun_judge, loss_weights, who_knows, who_listens
from .prior import remember, withheld
from .run import Run, Say, Task, fit, silent, team
from .segments import Aligned, Size, sample_latents
from .store import RATE, TOKEN, Entry

EXPECTED = "expected.f16"
CHUNK = 80  # tokens of which the prior says something at a time
SIDE_BY_SIDE = 12  # such rows
STEPS = 1000  # resolution of a speed


class DecoderTraining(PolishTraining):
    """Settings of the fifth part of a generator run; `model` is what the decoder becomes."""

    steps: int = 0  # 0: this part is left out
    segment_tokens: int = 40
    true: float = 0.5  # share of rows whose latents are the recording's own
    warp: tuple[float, float] = (0.84, 1.18)  # speeds at which those are heard
    compared: bool = (
        True  # what the prior said has to be the recording, too, not only to sound real
    )
    faithful: float = (
        0.0  # weight of the distance of the latents heard in the sound from those told
    )


def grown(model: Generator, config: GeneratorConfig) -> Generator:
    """The same generator with a decoder of more layers, or one that knows the speaker: it says what it said before.
    ValueError where anything else differs.
    """
    whole = Generator(config)
    known = model.state_dict()
    try:
        missing, beyond = whole.load_state_dict(known, strict=False)
    except RuntimeError as error:
        raise ValueError(f"a decoder only grows in layers and speaker_width: {error}") from error
    if beyond or any(not name.startswith("decoder.blocks.") for name in missing):
        raise ValueError(
            "a decoder only grows in layers and speaker_width; `model` has other parts"
        )
    for name, parameter in whole.named_parameters():
        if name in missing and (".narrow." in name or ".style." in name):
            nn.init.zeros_(parameter)  # what is new adds nothing yet
    return whole


@torch.no_grad()
def write_expected(
    folder: Path, model: Generator, config: DecoderTraining, say: Say = silent
) -> None:
    """Write `expected.f16` of a store, [frames, Z]: what the prior says of every aligned clip, chunk by chunk; zero where
    nothing is said. The model is in its place already.
    """
    parts = [Aligned(folder, split) for split in ("train", "dev")]
    remember(folder, model, *parts)
    rng, done = np.random.default_rng(config.seed), 0
    dice = torch.Generator(place(config)).manual_seed(config.seed)
    store, width = parts[0].store, model.config.prior.latent_channels
    with store.fill(EXPECTED, "float16", 480, width) as written:
        for data in parts:
            for size, places in _chunks(data, config.segment_tokens):
                whole = Size(len(places), size, 2 * size)
                batch = [x.to(place(config)) for x in data.rows(places, whole, rng)]
                batch = withheld(batch, config.silent, dice) if config.silent else batch
                z = expected_latents(
                    model, batch, dice, spoil=config.spoil, shares=Shares(config.corrected)
                ).latents
                for (entry, at), row in zip(places, z.float().cpu().numpy(), strict=True):
                    first = entry.start // 480 + 2 * at
                    written[first : first + 2 * size] = row.T
                done += len(places)
                if done % 500 < len(places):
                    say(f"what the prior says: {done} chunks")


def _chunks(data: Aligned, least: int) -> Iterator[tuple[int, list[tuple[Entry, int]]]]:
    """Sizes in tokens and the places of equally long chunks, that cover all clips of at least so many tokens."""
    places = []
    for entry in data.entries:
        total = entry.samples // TOKEN
        size = min(total, max(CHUNK, least))
        if size >= least:
            places += [(size, entry, at) for at in {*range(0, total - size, CHUNK), total - size}]
    places = [row for row in places if data.speaks(row[1], row[2], row[0])]
    places.sort(key=lambda row: (row[0], row[1].start, row[2]))
    for size, rows in groupby(places, key=lambda row: row[0]):
        while some := list(islice(rows, SIDE_BY_SIDE)):
            yield size, [(entry, at) for _, entry, at in some]


class Sounding:
    """What a run of this part is made of: decoder and judge, who listens, and what a step asks of them."""

    def __init__(self, folder: Path, model: Generator, config: DecoderTraining) -> None:
        torch.manual_seed(config.seed)  # initial weights of the discriminators only
        self.config, self.device = config, place(config)
        self.model = model.to(self.device).requires_grad_(False).eval()
        model.decoder.requires_grad_(True)
        self.judge = begun_judge(config).to(self.device)
        self.data, self.held = Aligned(folder), Aligned(folder, "dev")
        if config.favourites:
            self.data.favour(config.favourites, config.favoured)
        self.teacher = who_knows(config, self.data).to(self.device) if config.likeness else None
        self.listener = who_listens(config).to(self.device) if config.words else None
        self.own = round(config.batch * config.true)  # rows of a batch
        if self.own >= config.batch:
            raise ValueError(
                f"true: {config.true} of {config.batch} rows leaves none that the prior said"
            )
        self.feed = Feed(
            lambda number: self._make(self.data, (config.seed, number)), config, self.device
        )

    def _make(self, data: Aligned, seed: tuple[int, ...]) -> list[Tensor]:
        """wave [B, N], F0 [B, 4 S], band [B], reference [B, M], what is known of the speaker [B, E] and, of the rows behind
        the `own` first ones, latents [B', Z, 2 S].
        """
        rng, size = np.random.default_rng(seed), self.config.segment_tokens
        own = [self._moved(data, rng) for _ in range(self.own)]
        asked = Size(self.config.batch - self.own, size, size)
        places = list(islice(data.places(asked, rng, self.config.people), asked.batch))
        rows = data.rows(places, asked, rng)
        width = self.model.config.prior.latent_channels
        written = data.store.array(EXPECTED, "float16", 480, width)
        firsts = [entry.start // 480 + 2 * at for entry, at in places]
        z = np.stack([written[first : first + 2 * size].astype(np.float32) for first in firsts])
        shortest = rows[4].shape[1] * STEPS // round(self.config.warp[1] * STEPS) - 1
        parts = [
            torch.cat([torch.stack([row[n] for row in own]), rows[k]]) if own else rows[k]
            for n, k in enumerate((0, 5, 6))
        ]
        heard = [row[3] for row in own] + list(rows[4])
        reference = torch.stack([wave[:shortest] for wave in heard])
        return [*parts, reference, rows[8], torch.from_numpy(z).transpose(1, 2)]

    def _moved(self, data: Aligned, rng: np.random.Generator) -> list[Tensor]:
        """A stretch of a recording at another speed: wave [N], F0 [4 S], band [], reference [M]."""
        size, (low, high) = self.config.segment_tokens, self.config.warp
        speed = round(float(rng.uniform(low, high)) * STEPS)
        needed = -(-size * speed // STEPS) + 1
        while True:
            entry, at = next(data.places(Size(1, size, size), rng, self.config.people))
            first, total = entry.start // TOKEN, entry.samples // TOKEN
            if total >= needed:
                break
        at = min(at, total - needed)
        wave = data.store.wave[(first + at) * TOKEN : (first + at + needed) * TOKEN]
        wave = resample(wave / np.float32(32768), speed, STEPS)[: size * TOKEN]
        places = (np.arange(4 * size) * speed / STEPS).round().astype(int) + 4 * (first + at)
        f0 = data.f0[places].astype(np.float32) * np.float32(speed / STEPS)
        band = min(1.0, entry.band_hz * speed / STEPS * 0.95 / (RATE / 2))
        reference = resample(data.reference(entry, rng), speed, STEPS)
        return [
            torch.from_numpy(wave),
            torch.from_numpy(f0),
            torch.tensor(band),
            torch.from_numpy(reference),
        ]

    def _losses(
        self, batch: list[Tensor], number: int, heard: bool
    ) -> tuple[dict[str, Tensor], Tensor]:
        wave, f0, band, reference, known, expected = batch
        dice = torch.Generator(self.device).manual_seed(number)
        with torch.no_grad(), half(self.device):
            speaker = self.model.speaker_vector(reference)
            z = expected
            if self.own:
                own, _ = sample_latents(self.model, wave[: self.own], f0[: self.own], dice)
                z = torch.cat([own.float(), expected])
            z = torch.cat([pitch_latents(f0).transpose(1, 2), z[:, PITCH_LATENTS:]], dim=1)
        noise = torch.randn(wave.shape, generator=dice, device=self.device)
        with half(self.device):
            made = self.model.decoder(z, speaker, noise, f0).audio
        compared = None if self.config.compared else self.own
        rows = judged_losses(self.judge, made, wave, band, heard, compared)
        if self.config.faithful:
            rows["faithful"] = told_loss(self.model, made, z)
        if self.teacher is not None:
            rows["likeness"] = likeness_loss(self.teacher, made[self.own :], known)
        if self.listener is not None:
            rows["words"] = words_loss(self.listener, made[self.own :], wave[self.own :])
        return rows, made

    def losses(self, number: int) -> dict[str, Tensor]:
        """Of micro-batch n."""
        return self._losses(self.feed(number), number, number >= self.config.alone)[0]

    def validate(self, run: Run) -> dict[str, float]:
        """Losses of the held-out clips; a sample for the board."""
        rows, made = self._losses(self.feed.moved(self._make(self.held, (0,))), 0, True)
        run.hear("sound", made[0].float().cpu().numpy(), self.model.config.sample_rate)
        return {"loss": float(rows["spectrum"]), **{k: float(v) for k, v in rows.items()}}


def train_decoder(
    folder: Path, out: Path, model: Generator, config: DecoderTraining, say: Say = silent
) -> Generator:
    """Train on a store with tokens and labels; `model` has been through the parts before. Returns the grown one."""
    if team.get() is not None:
        raise ValueError("the decoder alone is trained by one process: leave out --devices")
    width = model.config.prior.latent_channels
    if not Aligned(folder).store.whole(EXPECTED, "float16", 480, width):
        write_expected(folder, model.to(place(config)).eval(), config, say)
    model = grown(model.cpu(), config.model)
    own = Sounding(folder, model, config)
    run = Run(out, {"generator": model, "judge": own.judge})
    task = Task(
        [{"params": list(model.decoder.parameters())}, {"params": list(own.judge.parameters())}],
        own.losses,
        loss_weights(config) | ({"faithful": config.faithful} if config.faithful else {}),
        validate=partial(own.validate, run) if own.held.entries else None,
        betas=(0.8, 0.99),
    )
    fit(run, task, config, say)
    return model
