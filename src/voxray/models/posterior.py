"""Posterior encoder: spectrogram of the target -> latents (VITS). Used in training only.

In: spectrogram [B, bins, T], lengths [B], speaker [B, G, 1], noise [B, Z, T] drawn by the caller
(None: the mean itself). Out: z, mean, log-std [B, Z, T] and mask [B, 1, T].
The `article` preset has its own, `ArticlePosterior`, in article_posterior.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from voxray.config import PosteriorConfig
from voxray.models.layers import Pointwise, WaveNet, length_mask
from voxray.sites import Site


@dataclass
class PosteriorOutput:
    """Latents [B, Z, T] with their Gaussian and mask; codes [B, T] where there is a quantiser."""

    z: Tensor
    mean: Tensor
    log_std: Tensor
    mask: Tensor
    codes: Tensor | None = None
    commitment: Tensor | None = None


def draw(mean: Tensor, log_std: Tensor, mask: Tensor, noise: Tensor | None) -> Tensor:
    """mean + noise * std on valid frames; without noise the mean."""
    return (mean if noise is None else mean + noise * log_std.exp()) * mask


class Posterior(nn.Module):
    """The family's posterior: a gated convolution stack conditioned on the speaker."""

    def __init__(self, config: PosteriorConfig) -> None:
        super().__init__()
        self.config = config
        self.before = Pointwise(config.input_bins, config.hidden)
        self.net = WaveNet(config.hidden, config.kernel, config.layers, config.speaker_width)
        self.project = Pointwise(config.hidden, 2 * config.latent_channels)
        self.mean, self.log_std = Site(), Site()  # [B, Z, T]

    def forward(
        self,
        spectrogram: Tensor,
        lengths: Tensor,
        speaker: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> PosteriorOutput:
        mask = length_mask(lengths, spectrogram.shape[2])
        hidden = self.net(self.before(spectrogram) * mask, mask, speaker)  # [B, D, T]
        mean, log_std = (self.project(hidden) * mask).chunk(2, dim=1)
        mean, log_std = self.mean(mean), self.log_std(log_std)
        return PosteriorOutput(draw(mean, log_std, mask, noise), mean, log_std, mask)
