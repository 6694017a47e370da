"""The fine detail of a voice, taken from its reference: latents beyond the first are those of the frame most alike.

What a prior predicts is a mean, and a mean sounds like nobody: the coarse latents (pitch, voicing, the shape of the
spectrum) say the sound, the fine ones say whose. So each frame keeps its first `kept` latents and takes the others
from the frames of the reference that are nearest in code vectors and in coarse latents, over three frames running
(nearest-neighbour regression as in kNN-VC, Baas et al. 2023, arXiv 2305.18975, with part of the channels): one of them, or a
mean of the few nearest, each less the less it is alike, which is smoother.
Where nothing alike was heard (a sound that the reference lacks, another language) the prediction stays: the share
taken falls from one to nothing around a cost of `TRUSTED`. Nothing is learnt here; the decoder is tuned with it.
Frames are found one by one: a chunk finds what the whole finds. What is predicted is first corrected by what is
known of the voice (`calibration.py`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from voxray.models.calibration import corrected
from voxray.models.memory import neighbours
from voxray.models.posterior_mel import PITCH_LATENTS
from voxray.models.prior import Heard

COMPARED = 24  # latents behind the pitch that tell how alike two frames are
TRUSTED, SOFT = 1.9, 0.1  # cost at which half is taken, and over which that share falls
REACH = 1  # frames on both sides that have to be alike, too
SHARPNESS = 0.15  # cost at which a frame of a mean counts 1 / e of one that is the very same


def nearest(z: Tensor, features: Tensor, heard: Heard) -> Tensor:
    """Which frame of the reference is most alike, [B, T]; as `alike`."""
    return alike(z, features, heard)[0][..., 0]


@torch.no_grad()
def alike(z: Tensor, features: Tensor, heard: Heard, count: int = 1) -> tuple[Tensor, Tensor]:
    """Latents [B, Z, T] and code vectors [B, C, T] of the frames to speak -> which frames of the reference are
    most alike, the nearest first, and how unlike they are (0: the same, 4 and more: nothing in common), [B, T, K] each.
    """
    codes, latents = heard.features, heard.latents.to(z)
    mine = F.normalize(neighbours(features), dim=1).transpose(1, 2)  # [B, T, 3 C]
    theirs = F.normalize(neighbours(codes.to(features)), dim=1)  # [B, 3 C, R]
    shape = slice(PITCH_LATENTS, PITCH_LATENTS + COMPARED)
    ours, others = z[:, shape].transpose(1, 2), latents[:, shape].transpose(1, 2)
    apart = torch.cdist(ours, others, compute_mode="donot_use_mm_for_euclid_dist").square()
    cost = 2.0 - 2.0 * mine @ theirs + apart / COMPARED  # [B, T, R]
    if heard.mask is not None:
        # Behind the last frame that counts stands that frame, as at the edge.
        last = (heard.mask.sum(1, keepdim=True) - 1).clamp_min(0)
        place = torch.arange(cost.shape[2], device=cost.device).minimum(last)  # [B, R]
        cost = cost.gather(2, place[:, None].expand_as(cost))
    size = cost.shape[1:]
    padded = F.pad(cost[:, None], (REACH, REACH, REACH, REACH), mode="replicate")[:, 0]
    steps = range(2 * REACH + 1)
    total = torch.stack([padded[:, d : d + size[0], d : d + size[1]] for d in steps]).sum(0)
    if heard.mask is not None:
        total = total.masked_fill(~heard.mask[:, None], float("inf"))
    cost, index = total.topk(min(count, total.shape[2]), largest=False)
    return index, cost / len(steps)


def shares(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Costs [B, T, K] of the frames most alike -> what each counts in their mean [B, T, K], and how much of that mean is
    taken [B, T]: nothing where no frame counts.
    """
    weights = torch.softmax(-cost / SHARPNESS, dim=2).nan_to_num(0.0)  # where no frame counts
    return weights, torch.sigmoid((TRUSTED - cost[..., 0]) / SOFT)


def at_pace(features: Tensor, z: Tensor) -> Tensor:
    """Code vectors [B, C, T0] stretched to the frames of latents [B, Z, T]."""
    return features if features.shape[2] == z.shape[2] else F.interpolate(features, size=z.shape[2])


def retrieved(
    z: Tensor, features: Tensor, heard: Heard | None, kept: int, count: int = 1
) -> Tensor:
    """Latents [B, Z, T] with those from `kept` on taken from the `count` frames of the reference that are most alike; rows
    without one stay as they are. `features` [B, C, T0] are stretched to T where the speech was.
    """
    if heard is None or not heard.latents.shape[2]:
        return z
    features = at_pace(features, z)
    z = corrected(z, features, heard.correction)
    index, cost = alike(z, features, heard, count)
    weights, taken = shares(cost)
    latents, taken = heard.latents.to(z)[:, kept:], taken[:, None]  # [B, F, R], [B, 1, T]
    fine = torch.zeros_like(z[:, kept:])
    for place, weight in zip(index.unbind(2), weights.unbind(2), strict=True):
        found = latents.gather(2, place[:, None].expand(-1, latents.shape[1], -1))
        fine = fine + weight[:, None] * found
    fine = taken * fine + (1.0 - taken) * z[:, kept:]
    return torch.cat([z[:, :kept], fine], dim=1)
