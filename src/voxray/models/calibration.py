"""How a voice differs from what the prior says of it: fitted to its reference's frames, in closed form.

What a prior predicts of an unseen voice is drawn towards the voices it knows, and is smoother than speech. Of the
reference both are known, its latents and what the prior says of them, so the difference can be fitted: first by ridge
regression from the prediction and the code vectors (as MLLR adapts means to a speaker by a linear map, Leggetter and
Woodland 1995), then mean and spread of each latent (global variance, Toda and Tokuda 2007), and the height of the voice by its median.
A frame's correction depends on that frame alone: a chunk finds what the whole finds.

A correction is one tensor [B, Z, F + 2]: the map of the F inputs of a frame that is added, then scale and shift.
"""

from __future__ import annotations

import torch
from torch import Tensor

from voxray.models.memory import Memory
from voxray.models.posterior_mel import PITCH_LATENTS

COMPARED = slice(2, 40)  # latents that the map reads: voicing, shape
CODES = 0.3  # scale of the code vectors beside them
RIDGE = 100.0  # frames' worth of belief that nothing differs
LEVEL = 0.02  # of it for the level
WIDEST = 1.5  # times as spread, no more
FEW = 50.0  # frames at which half of what is found of spread and height is believed


def inputs(z: Tensor, features: Tensor) -> Tensor:
    """Latents [B, Z, T] and code vectors [B, C, T] -> what the map reads of each frame [B, F, T]."""
    return torch.cat([torch.ones_like(z[:, :1]), z[:, COMPARED], CODES * features.to(z)], dim=1)


def voiced(z: Tensor) -> Tensor:
    """Which frames of latents [B, Z, T] have a voice, [B, 1, T]."""
    return z[:, 2:PITCH_LATENTS].sum(1, keepdim=True) > 0


def neutral(rows: int, latents: int, codes: int, device: torch.device | None = None) -> Tensor:
    """The correction [B, Z, F + 2] of a voice of which nothing is known: it changes nothing."""
    read = 1 + COMPARED.stop - COMPARED.start + codes
    correction = torch.zeros(rows, latents, read + 2, device=device)
    correction[..., -2].fill_(1.0)
    return correction


def corrected(z: Tensor, features: Tensor, correction: Tensor | None) -> Tensor:
    """Latents [B, Z, T] said of frames with code vectors [B, C, T] -> as this voice would have them."""
    if correction is None:
        return z
    weight, scale, shift = correction.to(z).split((correction.shape[2] - 2, 1, 1), dim=2)
    return (z + weight @ inputs(z, features)) * scale + shift


def fitted(said: Tensor, true: Tensor, features: Tensor, known: Tensor) -> Tensor:
    """What the prior says of a reference's frames and what they are [B, Z, R], their code vectors [B, C, R], which
    of them count [B, R] -> a correction [B, Z, F + 2].
    """
    with torch.no_grad(), torch.autocast(said.device.type, enabled=False):
        return _fitted(said, true, features, known)


def _fitted(said: Tensor, true: Tensor, features: Tensor, known: Tensor) -> Tensor:
    said, true, features = said.float(), true.float(), features.float()
    counted = known[:, None]  # [B, 1, R]
    read = inputs(said, features)  # [B, F, R]
    kept = read * known[:, None]
    belief = torch.full((read.shape[1],), RIDGE, device=read.device)
    belief[0] *= LEVEL
    gram = kept @ kept.transpose(1, 2) + belief.diag()
    wanted = kept @ (true - said).transpose(1, 2)  # [B, F, Z]
    weight = torch.cholesky_solve(wanted, torch.linalg.cholesky(gram)).transpose(1, 2)
    weight[:, :PITCH_LATENTS] = 0.0
    scale, shift = _spread(said + weight @ read, true, counted.float())
    scale[:, :PITCH_LATENTS], shift[:, :PITCH_LATENTS] = 1.0, 0.0
    shift[:, :2] = _height(said, true, counted & voiced(true) & voiced(said))
    return torch.cat([weight, scale[..., None], shift[..., None]], dim=2)


def _spread(ours: Tensor, theirs: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift [B, Z] that give latents [B, Z, R] the mean and spread of others, over frames that
    count [B, 1, R].
    """
    total = counted.sum(2)  # [B, 1]
    share = counted / total.clamp_min(1.0)[..., None]
    mean, wanted = (ours * share).sum(2), (theirs * share).sum(2)  # [B, Z]
    spread = ((ours - mean[..., None]).square() * share).sum(2).sqrt()
    wide = ((theirs - wanted[..., None]).square() * share).sum(2).sqrt()
    belief = total / (total + FEW)
    scale = 1.0 + belief * ((wide / spread.clamp_min(1e-3)).clamp(1.0, WIDEST) - 1.0)
    middle = mean + belief * (wanted - mean)
    return scale, middle - scale * mean


def _height(said: Tensor, true: Tensor, counted: Tensor) -> Tensor:
    """How much higher the voice is than what is said of it, in scaled octaves [B, 1], by the medians."""
    gap = torch.full_like(true[:, 0], float("nan"))
    heights = [torch.where(counted[:, 0], z[:, :2].mean(1), gap) for z in (true, said)]
    apart = heights[0].nanmedian(1).values - heights[1].nanmedian(1).values
    total = counted.sum((1, 2))
    return (apart.nan_to_num(0.0) * total / (total + FEW))[:, None]


def halves(memory: Memory) -> tuple[Memory, Memory]:
    """A memory's rows cut in two: [first halves; second halves] and, in the same order, the other halves, each
    2 B rows. What one half says can then be predicted with the other one in mind.
    """
    tokens, latents = memory.tokens, memory.latents
    size = tokens.shape[1]
    lengths = memory.lengths
    if lengths is None:
        lengths = torch.full((len(tokens),), size, device=tokens.device)
    middle = lengths // 2
    begin = torch.cat([torch.zeros_like(middle), middle])  # [2 B]
    count = torch.cat([middle, lengths - middle])
    place = begin[:, None] + torch.arange((size + 1) // 2, device=tokens.device)
    place = place.clamp_max(max(0, size - 1))  # [2 B, H]
    frames = torch.stack([2 * place, 2 * place + 1], dim=2).flatten(1)[:, None]  # [2 B, 1, 2 H]
    doubled = latents.repeat(2, 1, 1)
    cut = Memory(
        tokens.repeat(2, 1).gather(1, place),
        doubled.gather(2, frames.expand(-1, doubled.shape[1], -1)),
        count,
    )
    other = Memory(*(x.roll(len(tokens), 0) for x in (cut.tokens, cut.latents, count)))
    return cut, other
