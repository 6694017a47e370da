"""A content encoder taught new recordings while its tokens keep their meaning.

Codebook and readout stand still, so a GPT and a generator that speak these tokens stay right; only the encoder
learns. Clips whose tokens are trusted (`same`) hold it to them; the others are pulled towards what the
readout has to say of their phonemes, which forced alignment finds anew each round. In the first round nobody
knows their phonemes: there it is enough that a loud frame is not called silence. (An encoder that takes a whole
corpus for silence aligns all its words to nothing, agrees with that, and is never found out by its loss.)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxray.tokens.content import ContentEncoder, Readout
from voxray.tokens.quantiser import Quantiser

from .content import (
    PAUSE_IDS,
    SILENCE,
    WEIGHTS,
    ContentTraining,
    Frames,
    losses,
    write_tokens,
)
from .feed import Feed, half, place
from .label import FRAME, align_people
from .run import Run, Say, Task, fit, silent
from .store import Entry

NEAR = 4.0  # squared distance to a code, per unit of the logit that names it
LOUD = -0.25  # of a frame's energy (20 dB a unit, 1 at the clip's loudest): 25 dB below it


class RefitTraining(ContentTraining):
    """Settings of a refit; `steps` are those of each round."""

    steps: int = 200
    rounds: int = 3
    batch_clips: int = 16
    rate: float = 3e-4
    warmup: int = 20
    same: float = 1.0  # weight of the trusted clips' tokens


class Mixed:
    """Batches, half of trusted clips, with their tokens [B, T // 2] (-100: not trusted) and loud frames [B, T]."""

    def __init__(
        self, frames: Frames, config: RefitTraining, trusted: Callable[[Entry], bool]
    ) -> None:
        self.frames, self.config, self.trusted = frames, config, trusted
        entries = [e for e in frames.store.entries if e.split == "train"]
        self.sure = [e for e in entries if trusted(e)]
        self.new = [e for e in entries if not trusted(e) and e.text]
        if not self.sure or not self.new:
            raise ValueError("a refit wants clips to trust and clips to learn, both with texts")
        self.tokens = np.array(frames.store.array("tokens.i16", "int16", 960))

    def batch(self, number: int) -> list[Tensor]:
        """hidden, mask, ids, prosody as `Frames.batch`, then tokens and loud frames."""
        rng = np.random.default_rng((self.config.seed, number))
        half_of = self.config.batch_clips // 2
        chosen = [self.sure[i] for i in rng.integers(len(self.sure), size=half_of)]
        chosen += [self.new[i] for i in rng.integers(len(self.new), size=half_of)]
        rows = [self._row(entry, rng) for entry in chosen]
        return [torch.stack(column) for column in zip(*rows, strict=True)]

    def _row(self, entry: Entry, rng: np.random.Generator) -> list[Tensor]:
        crop = self.config.crop_frames
        at = int(rng.integers(0, max(0, entry.samples // 960 - crop // 2) + 1))  # in tokens
        ids, prosody = self.frames.targets(entry)
        first, part = entry.start // FRAME + 2 * at, slice(2 * at, 2 * at + crop)
        ids, prosody = ids[part], prosody[part]
        size = len(ids) // 2 * 2
        hidden = torch.from_numpy(np.array(self.frames.hidden[first : first + size]))
        tokens = torch.full((crop // 2,), -100)
        if self.trusted(entry):
            tokens[: size // 2] = torch.from_numpy(
                self.tokens[first // 2 : (first + size) // 2].astype(np.int64)
            )
        loud = torch.from_numpy(prosody[:size, 2] > LOUD)
        return [
            F.pad(hidden, (0, 0, 0, crop - size)),
            torch.arange(crop) < size,
            F.pad(torch.from_numpy(ids[:size]), (0, crop - size), value=-100),
            F.pad(torch.from_numpy(prosody[:size]), (0, 0, 0, crop - size)),
            tokens,
            F.pad(loud, (0, crop - size)),
        ]


def refit_losses(
    encoder: ContentEncoder, quantiser: Quantiser, readout: Readout, batch: list[Tensor]
) -> dict[str, Tensor]:
    """The content losses, the trusted tokens' cross-entropy, and how silent loud frames are."""
    hidden, mask, ids, target, tokens, loud = batch
    with half(hidden.device):
        vectors, _, z = quantiser(encoder.top(hidden.float(), mask[:, None, None]))
        logits, prosody = readout(vectors)
    parts = losses(logits, prosody.float(), ids, target, mask)
    z, live = z.float(), mask[:, ::2]
    book = quantiser.codebook
    parts["commit"] = (z - book[quantiser.codes(z)]).square().mean(-1)[live].mean()
    apart = book.square().sum(1) - 2 * z @ book.t()  # [B, S, K], + |z|^2
    parts["same"] = F.cross_entropy(
        -apart.flatten(0, 1) / NEAR, tokens.flatten(), ignore_index=-100
    )
    still = logits.float().softmax(-1)[..., SILENCE]
    unknown = loud & mask & (ids < 0)
    parts["still"] = -(1.0 - still[unknown]).clamp_min(1e-3).log().sum() / unknown.sum().clamp_min(
        1
    )
    return parts


def refit_content(
    folder: Path,
    out: Path,
    encoder: ContentEncoder,
    quantiser: Quantiser,
    readout: Readout,
    trusted: Callable[[Entry], bool],
    config: RefitTraining,
    say: Say = silent,
) -> ContentEncoder:
    """Teach the encoder the clips that are not trusted; writes tokens and labels of people anew."""
    device = place(config)
    modules: tuple[nn.Module, ...] = (encoder, quantiser, readout)
    for module in modules:
        module.to(device).eval()
    for module in (quantiser, readout):
        module.requires_grad_(False)
    for number in range(config.rounds):
        frames = Frames(folder, config.model.width)
        if number == 0:
            frames.labels = {
                e.name: frames.labels[e.name]
                for e in frames.store.entries
                if trusted(e) and e.name in frames.labels
            }
        clips = Mixed(frames, config, trusted)
        clips.tokens = _kept(out, clips.tokens)
        feed = Feed(clips.batch, config, device)
        offset = number * config.steps

        def lost(step: int, feed: Feed = feed, offset: int = offset) -> dict[str, Tensor]:
            return refit_losses(encoder, quantiser, readout, feed(offset + step))

        run = Run(out / f"round{number}", {"content": encoder})
        weights = {**WEIGHTS, "same": config.same, "still": 1.0}
        encoder.train()
        fit(run, Task([{"params": list(encoder.parameters())}], lost, weights), config, say)
        encoder.eval()
        scores = write_tokens(frames, encoder, quantiser, readout)
        report = align_people(folder, scores, SILENCE, PAUSE_IDS)
        say(f"round {number}: " + ", ".join(f"{k}: {v}" for k, v in sorted(report.items())))
    return encoder


def _kept(out: Path, tokens: np.ndarray) -> np.ndarray:
    """The tokens that were trusted when the first round began."""
    path = out / "trusted.npy"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        np.save(path, tokens)
    return np.load(path)
