"""Vector quantiser at 25 Hz: pairs of content frames -> one of K codes (VQ-VAE, van den Oord 2017).

In: features [B, 2S, D] at 50 Hz. Out: codes [B, S] and code vectors [B, S, C]. The codebook is
learnt by exponential moving averages from a k-means-like start; dead codes are moved onto live
data. `bypass` leaves the vectors unquantised (the on/off study). Sites: z_e, z_q [B, S, C].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxray.config import ContentConfig
from voxray.sites import Site


class Quantiser(nn.Module):
    """Nearest-neighbour codes with a straight-through gradient."""

    codebook: Tensor
    usage: Tensor
    total: Tensor

    def __init__(self, config: ContentConfig) -> None:
        super().__init__()
        self.pair = nn.Linear(2 * config.width, config.code_width)
        self.register_buffer("codebook", torch.zeros(config.codebook_size, config.code_width))
        self.register_buffer("usage", torch.ones(config.codebook_size))
        self.register_buffer("total", torch.zeros(config.codebook_size, config.code_width))
        self.normalise = config.normalise
        self.bypass = False
        self.z_e, self.z_q = Site(), Site()  # [B, S, C]

    def project(self, features: Tensor) -> Tensor:
        """[B, T, D] -> [B, T // 2, C]; an odd last frame is dropped."""
        even = features[:, : features.shape[1] // 2 * 2]
        pairs = even.reshape(features.shape[0], -1, 2 * features.shape[2])
        vectors = self.pair(pairs)
        if self.normalise:
            vectors = F.layer_norm(vectors, (self.codebook.shape[1],))
        return self.z_e(vectors)

    def codes(self, vectors: Tensor) -> Tensor:
        """Nearest code of each vector [..., C] -> [...]."""
        flat = vectors.reshape(-1, vectors.shape[-1]).float()
        distance = self.codebook.square().sum(1) - 2 * flat @ self.codebook.t()  # + |x|^2
        return distance.argmin(1).view(vectors.shape[:-1])

    def embed(self, codes: Tensor) -> Tensor:
        """Codes [B, S] -> vectors [B, S, C]."""
        return self.z_q(self.codebook[codes])

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features [B, T, D] -> (straight-through vectors, codes [B, S], z_e)."""
        z = self.project(features)
        codes = self.codes(z)
        if self.bypass:
            return z, codes, z
        q = self.embed(codes).to(z.dtype)
        return z + (q - z).detach(), codes, z

    @torch.no_grad()
    def start(self, vectors: Tensor, rounds: int, generator: torch.Generator) -> None:
        """k-means on sample vectors [N, C], from random rows of them."""
        size = self.codebook.shape[0]
        pick = torch.randperm(len(vectors), generator=generator)[:size]
        self.codebook.copy_(vectors[pick])
        for _ in range(rounds):
            codes = self.codes(vectors)
            count = torch.bincount(codes, minlength=size).float()
            total = torch.zeros_like(self.codebook).index_add_(0, codes, vectors)
            live = count > 0
            self.codebook[live] = total[live] / count[live, None]
            spare = torch.randint(len(vectors), (int((~live).sum()),), generator=generator)
            self.codebook[~live] = vectors[spare]
        self.usage.copy_(count.clamp_min(1.0))
        self.total.copy_(self.codebook * self.usage[:, None])

    @torch.no_grad()
    def learn(self, vectors: Tensor, decay: float, generator: torch.Generator) -> None:
        """One moving-average step on vectors [N, C]; codes used less than once in 30 are moved."""
        codes = self.codes(vectors)
        count = torch.bincount(codes, minlength=len(self.usage)).float()
        total = torch.zeros_like(self.codebook).index_add_(0, codes, vectors)
        self.usage.lerp_(count, 1 - decay)
        self.total.lerp_(total, 1 - decay)
        self.codebook.copy_(self.total / self.usage.clamp_min(1e-3)[:, None])
        dead = self.usage < 0.03
        if dead.any():
            spare = torch.randint(len(vectors), (int(dead.sum()),), generator=generator)
            self.codebook[dead] = vectors[spare]
            self.usage[dead] = 1.0
            self.total[dead] = vectors[spare]
