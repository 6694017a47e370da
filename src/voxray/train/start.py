"""Closed-form starts of the generator: what linear algebra can find, no gradient has to.

The posterior's components and the decoder's envelope (part 1), then the prior's linear path (part 2):
ridge regression of the latents on the code vectors around a frame and on the speaker vector.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from voxray.models.decoder_istft import IstftDecoder
from voxray.models.generator import Generator
from voxray.models.memory import neighbours
from voxray.models.posterior_mel import MelPosterior

from .segments import Aligned, Segments, SegmentSize, sample_latents, spoilt

SPEAKER_RIDGE = 0.05  # a speaker vector is seen once a clip, a code in every frame
SHARP = 20.0  # logits between a frame and its like, when the look-up begins
QUIET = 0.1  # share of its random first weights that the network's projection keeps


def start_latents(model: Generator, data: Segments, clips: int, seed: int) -> None:
    """Fit the posterior's principal components to random segments; start the decoder from them."""
    posterior, decoder = model.posterior, model.decoder
    if not isinstance(posterior, MelPosterior) or not isinstance(decoder, IstftDecoder):
        raise ValueError("the first part trains a `MelPosterior` with an `IstftDecoder` only")
    wave = data.batch(clips, 40, np.random.default_rng(seed))[0]
    decoder.start_from(posterior.fit(wave), posterior.centre, posterior.bank)


@torch.no_grad()
def start_prior(
    model: Generator, data: Aligned, size: SegmentSize, batches: int, spoil: float = 0.0
) -> float:
    """Fit the prior's linear path to `batches` batches, a share of whose tokens is spoilt; returns the
    share of variance not explained (mean over the latents) on a third as many others.
    """
    direct = model.prior.direct
    if direct is None:
        return 1.0
    model.eval()
    wide = direct.codes.in_features
    _level_speakers(model, data, size, batches)
    gram, cross, power, count = _moments(model, data, size, range(batches), spoil)
    ridge = torch.full_like(gram[0], 1e-3 * count)  # codes: unit variance, too
    ridge[wide:-1], ridge[-1] = SPEAKER_RIDGE * count, 1e-6 * count
    weight = torch.linalg.solve(gram + torch.diag(ridge), cross)  # [K C + G + 1, Z]
    direct.codes.weight.copy_(weight[:wide].t())
    direct.codes.bias.copy_(weight[-1])
    direct.speaker.weight.copy_(weight[wide:-1].t())
    project, latents = model.prior.project, cross.shape[1]
    left, _ = _left(weight, gram, cross, power, count)
    project.weight.mul_(QUIET)
    project.bias[:latents] = 0.0
    project.bias[latents:] = left.clamp_min(1e-6).sqrt().log()
    others = range(batches, batches + max(1, batches // 3))
    left, whole = _left(weight, *_moments(model, data, size, others, spoil))
    start_memory(model, data, size, batches)
    model.train()
    return float((left / whole).mean())


@torch.no_grad()
def start_memory(model: Generator, data: Aligned, size: SegmentSize, batches: int) -> None:
    """Let the look-up in the reference begin as a search for like sounds: the principal axes of the code
    vectors around a frame, scaled so that a frame's product with itself is `SHARP` on average.
    """
    reader = model.prior.memory
    if reader is None:
        return
    device = model.codebook.device
    drawn = [data.aligned(size, np.random.default_rng((8, n)))[1] for n in range(batches)]
    around = neighbours(model.features(torch.cat(drawn).to(device)))
    rows = around.transpose(1, 2).flatten(0, 1).double()  # [N, 3 C]
    depth = reader.attn.out.in_features // reader.attn.heads
    axes = torch.linalg.eigh(rows.t() @ rows / len(rows))[1].flip(1)[:, :depth].t()
    power = (rows @ axes.t()).square().sum(1).mean()
    reader.start_from((axes * (SHARP / power).sqrt()).float(), 1.0)


def _level_speakers(model: Generator, data: Aligned, size: SegmentSize, batches: int) -> None:
    """Scale the speaker encoder's last map so that its vectors have zero mean and unit variance."""
    device = model.codebook.device
    drawn = [data.aligned(size, np.random.default_rng((7, n)))[4] for n in range(batches)]
    vectors = torch.cat([model.speaker_vector(wave.to(device)) for wave in drawn])  # [N, G]
    project, spread = model.speaker.project, vectors.std(0).clamp_min(1e-6)
    project.weight.div_(spread[:, None])
    project.bias.sub_(vectors.mean(0)).div_(spread)


def _left(
    weight: Tensor, gram: Tensor, cross: Tensor, power: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Mean squared error of a linear map, and the variance, of each latent [Z]."""
    error = power - 2 * (weight * cross).sum(0) + (weight * (gram @ weight)).sum(0)
    return error / count, power / count - (cross[-1] / count).square()


def _moments(
    model: Generator, data: Aligned, size: SegmentSize, numbers: range, spoil: float
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Sums over frames: inputs by inputs [I, I], inputs by latents [I, Z], squared latents [Z]; frames."""
    gram, cross, power, count = 0.0, 0.0, 0.0, 0
    for number in numbers:
        inputs, latents = _frames(model, data, size, number, spoil)
        gram = gram + (inputs.t() @ inputs).double()
        cross = cross + (inputs.t() @ latents).double()
        power = power + latents.double().square().sum(0)
        count += len(inputs)
    return torch.as_tensor(gram), torch.as_tensor(cross), torch.as_tensor(power), count


def _frames(
    model: Generator, data: Aligned, size: SegmentSize, number: int, spoil: float
) -> tuple[Tensor, Tensor]:
    """Inputs [N, K C + G + 1] of the linear path and the latents [N, Z] of a batch's frames."""
    assert model.prior.direct is not None
    device = model.codebook.device
    batch = [x.to(device) for x in data.aligned(size, np.random.default_rng((7, number)))]
    dice = torch.Generator(device).manual_seed(number)
    z, _ = sample_latents(model, batch[0], batch[5], dice)
    features = model.features(spoilt(batch[1], batch[9], spoil, dice))
    around = model.prior.direct.around(features)  # [B, K C, T]
    speaker = model.speaker_vector(batch[4])[..., None].expand(-1, -1, z.shape[2])
    one = torch.ones_like(speaker[:, :1])
    inputs = torch.cat([around, speaker, one], dim=1)
    return inputs.transpose(1, 2).flatten(0, 1), z.transpose(1, 2).flatten(0, 1)
