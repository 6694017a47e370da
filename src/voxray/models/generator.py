"""The SoVITS stage put together: semantic tokens, phonemes and a speaker vector -> speech.

`decode`: tokens [B, S] at 25 Hz -> code vectors -> prior -> sample -> inverse flow -> decoder -> wave
[B, N], two latent frames a token (GPT-SoVITS after VITS, Kim et al. 2021). Which posterior and which
decoder is the config's choice. Training adds the posterior in front of the flow (`train/`). Sites:
codes [B, 2S, C]; heard_codes [B, C, R], heard_latents [B, Z, R], correction [B, Z, F + 2], retrieved [B, Z, T]
of models that look something up in the reference; those of the parts, under speaker., fusion., prior., flow., decoder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from voxray.config import (
    FusionConfig,
    GeneratorConfig,
    HifiganConfig,
    IstftDecoderConfig,
    MelPosteriorConfig,
    PosteriorConfig,
)
from voxray.models.calibration import fitted, halves, neutral
from voxray.models.decoder_hifigan import HifiganDecoder
from voxray.models.decoder_istft import IstftDecoder
from voxray.models.flow import Flow
from voxray.models.fusion import VectorFusion
from voxray.models.layers import length_mask
from voxray.models.memory import Memory
from voxray.models.posterior import Posterior
from voxray.models.posterior_mel import LinearLatents, MelPosterior
from voxray.models.prior import Heard, Prior, Window
from voxray.models.reference import REFERENCES
from voxray.models.retrieval import retrieved
from voxray.models.speaker import SpeakerEncoder
from voxray.sites import Site

DECODERS = {IstftDecoderConfig: IstftDecoder, HifiganConfig: HifiganDecoder}
POSTERIORS = {MelPosteriorConfig: MelPosterior, PosteriorConfig: Posterior}


@dataclass
class GeneratorOutput:
    """Audio [B, N] at the config's rate, latents [B, Z, T], F0 in Hz [B, 2T], prior attention if recorded."""

    audio: Tensor
    latents: Tensor
    f0: Tensor
    attention: Tensor | None = None


class Generator(nn.Module):
    """Speaker encoder, prior, flow, posterior (absent from inference weights) and decoder."""

    codebook: Tensor

    def __init__(self, config: GeneratorConfig, training_parts: bool = True) -> None:
        super().__init__()
        self.config = config
        self.reference = REFERENCES[config.reference](config.speaker)
        self.speaker = SpeakerEncoder(config.speaker)
        width = config.speaker.speaker_width
        joint = FusionConfig(speaker_width=width, input_width=config.verification_width)
        self.fusion = VectorFusion(joint) if config.verification_width else None
        self.prior = Prior(config.prior)
        self.flow = Flow(config.flow)
        posterior = POSTERIORS[type(config.posterior)]
        self.posterior = posterior(config.posterior) if training_parts else None
        self.hearing = self._hearing(config)
        self.decoder = DECODERS[type(config.decoder)](config.decoder)
        codes = torch.zeros(config.codebook_size, config.prior.input_channels)
        self.register_buffer("codebook", codes)
        self.codes = Site()  # [B, 2S, C]
        looks_up = bool(config.prior.memory_width)
        self.heard_codes = Site() if looks_up else None  # [B, C, R]
        self.heard_latents = Site() if looks_up else None  # [B, Z, R]
        self.retrieved = Site() if config.retrieval else None  # [B, Z, T]
        self.correction = Site() if config.retrieval else None  # [B, Z, F + 2]

    @staticmethod
    def _hearing(config: GeneratorConfig) -> LinearLatents | None:
        """How a reference's latents are heard, of models that look them up."""
        if not config.prior.memory_width:
            if config.retrieval:
                raise ValueError("retrieval: there is nothing to retrieve without memory_width")
            return None
        if not isinstance(config.posterior, MelPosteriorConfig):
            raise ValueError("memory_width: the look-up needs the posterior encoder `MelPosterior`")
        return LinearLatents(config.posterior)

    @property
    def reference_rate(self) -> int:
        """Sample rate that `speaker_vector` wants."""
        return self.reference.rate

    @property
    def sound(self) -> nn.Module:
        """The part that makes the waveform."""
        return self.decoder

    def speaker_vector(self, wave: Tensor, verification: Tensor | None = None) -> Tensor:
        """Reference [B, N] at `reference_rate` -> speaker vector [B, G].

        Models with a `fusion` also want the speaker-verification embedding [B, E].
        """
        vector = self.speaker(self.reference(wave))  # [B, G, 1]
        if self.fusion is not None:
            if verification is None:
                raise ValueError("this model wants a speaker-verification embedding as well")
            vector = self.fusion(vector, verification)
        return vector[..., 0]

    def features(self, tokens: Tensor) -> Tensor:
        """Tokens [B, S] -> code vectors at the latents' rate [B, C, 2S]."""
        return self.codes(self.codebook[tokens].repeat_interleave(2, dim=1)).transpose(1, 2)

    def heard(self, memory: Memory | None) -> Heard | None:
        """What the prior looks up of a reference; None: nothing."""
        if memory is None or not memory.frames:
            return None
        if self.heard_codes is None or self.heard_latents is None:
            return None
        mask = None
        if memory.lengths is not None:
            mask = length_mask(2 * memory.lengths, memory.frames)[:, 0].bool()
        codes = self.codebook[memory.tokens].repeat_interleave(2, dim=1).transpose(1, 2)
        if mask is not None:
            codes = codes * mask[:, None]  # what stands beside the last frame is nothing
        heard = Heard(self.heard_codes(codes), self.heard_latents(memory.latents), mask)
        if self.correction is None:
            return heard
        correction = memory.correction
        if correction is None:
            rows, latents, _ = memory.latents.shape
            correction = neutral(rows, latents, codes.shape[1], codes.device)
        return replace(heard, correction=self.correction(correction))

    @torch.no_grad()
    def calibrated(self, memory: Memory, speaker: Tensor, silence: int) -> Memory:
        """A reference's frames with how its voice [B, G] differs from what the prior says of them.

        Each half is predicted with the other one in mind, without text (`silence`: the phoneme for none).
        """
        if not self.config.retrieval or not memory.frames:
            return memory
        asked, other = halves(memory)
        assert asked.lengths is not None
        text = torch.full((len(asked.tokens), 1), silence, device=speaker.device)
        vector = speaker.repeat(2, 1)[..., None]  # [2 B, G, 1]
        features = self.features(asked.tokens)
        counts = asked.lengths.clamp_min(1)
        out = self.prior(
            features, 2 * counts, text, torch.ones_like(counts), vector, heard=self.heard(other)
        )
        said = self.flow.inverse(out.mean, out.mask, vector).float()
        known = length_mask(2 * asked.lengths, said.shape[2])[:, 0].bool()  # [2 B, R / 2]
        pairs = (said, asked.latents, features, known)
        both = [torch.cat(x.chunk(2), dim=-1) for x in pairs]  # halves side by side again
        return replace(memory, correction=fitted(*both))

    def detailed(self, z: Tensor, features: Tensor, heard: Heard | None) -> Tensor:
        """Latents [B, Z, T] with the fine ones of the reference, of models that retrieve them."""
        if self.retrieved is None:
            return z
        config = self.config
        return self.retrieved(
            retrieved(z, features, heard, config.retrieval, config.retrieval_frames)
        )

    def decode(
        self,
        tokens: Tensor,
        text_ids: Tensor,
        speaker: Tensor,
        noise: Tensor,
        speed: float = 1.0,
        pointer: Tensor | None = None,
        memory: Memory | None = None,
        window: tuple[int, int] | None = None,
    ) -> GeneratorOutput:
        """Tokens [1, S], phonemes [1, P], speaker [1, G] -> speech.

        `noise` [1, noise_channels, >= T] is drawn before by the caller: the prior's noise, then one
        latent frame's worth of white noise for the decoder. T is 2 S, or int(2 S / speed) + 1.
        `pointer` [1, S]: the phoneme that each token says, if known. `memory`: the reference's frames.
        `window`: only frames [begin, end) of the T are wanted. The prior reads everything, flow and decoder
        as much around them as reaches in: what comes out is what the whole has there.
        """
        if window is not None and not self.windowed:
            raise ValueError("this model can only sound all of its tokens at once")
        features = self.features(tokens)  # [1, C, 2S]
        lengths = torch.tensor([features.shape[2]])
        text_lengths = torch.tensor([text_ids.shape[1]])
        vector = speaker[..., None]  # [1, G, 1]
        if pointer is not None:
            pointer = pointer.repeat_interleave(2, dim=1)  # [1, 2S]
        heard = self.heard(memory)
        near = None if window is None else self._near(*window)
        out = self.prior(
            features, lengths, text_ids, text_lengths, vector, speed,
            window=near, pointer=pointer, heard=heard,
        )  # fmt: skip
        frames, latent = out.mean.shape[2], out.mean.shape[1]
        noise = noise if near is None else noise[:, :, near.begin :]
        if noise.shape[2] < frames:
            raise ValueError(f"noise for {noise.shape[2]} frames, but {frames} are to be made")
        spread = noise[:, :latent, :frames] * out.log_std.exp() * self.config.noise_scale
        z = self.flow.inverse(out.mean + spread, out.mask, vector)
        if window is not None and near is not None:
            return self._part(z, speaker, window[0] - near.begin, window[1] - near.begin)
        z = self.detailed(z, features, heard)
        source = noise[:, latent:, :frames].transpose(1, 2).flatten(1)  # [1, 480 T]
        audio, f0 = self.decoder.speak(z, speaker, source)
        return GeneratorOutput(audio, z, f0)

    @property
    def windowed(self) -> bool:
        """Whether `decode` can make a part: nothing may run through the whole sentence behind the prior."""
        return isinstance(self.decoder, HifiganDecoder) and self.retrieved is None

    def _near(self, begin: int, end: int) -> Window:
        """The frames that those of [begin, end) depend on, behind the prior."""
        assert isinstance(self.decoder, HifiganDecoder)
        reach = self.flow.reach + self.decoder.reach
        return Window(max(0, begin - reach), end + reach, after=True)

    def _part(self, z: Tensor, speaker: Tensor, begin: int, end: int) -> GeneratorOutput:
        """The sound of frames [begin, end) of latents [1, Z, T], as all of them together give it."""
        assert isinstance(self.decoder, HifiganDecoder)
        reach, hop = self.decoder.reach, self.config.hop
        first, end = max(0, begin - reach), min(end, z.shape[2])
        audio, f0 = self.decoder.speak(z[:, :, first : end + reach], speaker, z)
        cut = slice((begin - first) * hop, (end - first) * hop)
        return GeneratorOutput(audio[:, cut], z[:, :, begin:end], f0)
