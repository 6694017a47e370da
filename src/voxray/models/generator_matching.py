"""The SoVITS stage of the flow-matching models: tokens, phonemes, speaker and a prompt -> speech.

`decode`: tokens [1, S] at 25 Hz -> prior -> bridge -> mel by flow matching, window after window -> vocoder
-> wave [1, N] (published v3 and v4; after Shortcut Models, Frans et al. 2024, and F5-TTS, Chen et al.
2024). The prompt is what the mel goes on from: its mel, tokens and phonemes. Sites: codes and those of
the parts, under speaker., prior., bridge., cfm., vocoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxray.audio.published import unscaled
from voxray.config import BigVGANConfig, HifiganConfig, MatchingGeneratorConfig
from voxray.models.cfm import Bridge, FlowMatching
from voxray.models.decoder_bigvgan import BigVGANDecoder
from voxray.models.decoder_hifigan import HifiganDecoder
from voxray.models.generator import GeneratorOutput
from voxray.models.layers import fuse_weight_norm
from voxray.models.prior import Prior
from voxray.models.reference import REFERENCES
from voxray.models.speaker import SpeakerEncoder
from voxray.sites import Site

VOCODERS = {HifiganConfig: HifiganDecoder, BigVGANConfig: BigVGANDecoder}


@dataclass(frozen=True)
class MelPrompt:
    """What speech goes on from: scaled mel [1, M, L], tokens [1, S], phonemes [1, P]."""

    mel: Tensor
    tokens: Tensor
    text_ids: Tensor


class MatchingGenerator(nn.Module):
    """Speaker encoder, prior, bridge, flow matching and vocoder."""

    codebook: Tensor

    def __init__(self, config: MatchingGeneratorConfig, training_parts: bool = False) -> None:
        super().__init__()
        self.config = config
        self.reference = REFERENCES[config.reference](config.speaker)
        self.speaker = SpeakerEncoder(config.speaker)
        self.fusion = None
        self.prior = Prior(config.prior)
        self.bridge = Bridge(config.bridge)
        self.cfm = FlowMatching(config.matching)
        self.vocoder = VOCODERS[type(config.vocoder)](config.vocoder)
        fuse_weight_norm(self.vocoder)  # it is never trained here
        codes = torch.zeros(config.codebook_size, config.prior.input_channels)
        self.register_buffer("codebook", codes)
        self.codes = Site()  # [B, 2S, C]

    @property
    def reference_rate(self) -> int:
        """Sample rate that `speaker_vector` wants."""
        return self.reference.rate

    @property
    def sound(self) -> nn.Module:
        """The part that makes the waveform."""
        return self.vocoder

    def speaker_vector(self, wave: Tensor, verification: Tensor | None = None) -> Tensor:
        """Reference [B, N] at `reference_rate` -> speaker vector [B, G]."""
        return self.speaker(self.reference(wave))[..., 0]

    def features(self, tokens: Tensor) -> Tensor:
        """Tokens [B, S] -> code vectors at the prior's rate [B, C, 2S]."""
        return self.codes(self.codebook[tokens].repeat_interleave(2, dim=1)).transpose(1, 2)

    def condition(
        self, tokens: Tensor, text_ids: Tensor, speaker: Tensor, speed: float = 1.0
    ) -> Tensor:
        """Tokens [1, S], phonemes [1, P], speaker [1, G] -> condition [1, W, T] at the mel's rate."""
        features = self.features(tokens)  # [1, C, 2S]
        lengths = torch.tensor([features.shape[2]])
        text_lengths = torch.tensor([text_ids.shape[1]])
        vector = speaker[..., None]  # [1, G, 1]
        out = self.prior(features, lengths, text_ids, text_lengths, vector, speed)
        return self.bridge(out.features, torch.tensor([tokens.shape[1]]), vector, speed)

    def mel(self, prompt: Tensor, before: Tensor, condition: Tensor, noise: Tensor) -> Tensor:
        """Scaled mel [1, M, T] of a condition [1, W, T], going on from a prompt.

        `prompt` [1, M, L] has the condition `before` [1, W, L]; noise [1, M, >= T]. Longer speech
        than a window is made window after window: the end of each becomes the prompt of the next.
        """
        config = self.config
        made: list[Tensor] = []
        start, frames = 0, condition.shape[2]
        while start < frames:
            room = max(1, config.window_frames - prompt.shape[2])
            end = min(frames, start + room)
            held = prompt.shape[2]
            joint = torch.cat([before, condition[:, :, start:end]], dim=2)
            dice = F.pad(noise[:, :, start:end], (held, 0))
            part = self.cfm(joint, prompt, dice)[:, :, held:]
            made.append(part)
            prompt = torch.cat([prompt, part], dim=2)[:, :, -config.prompt_frames :]
            before = joint[:, :, -config.prompt_frames :]
            start = end
        return torch.cat(made, dim=2)

    def decode(
        self,
        tokens: Tensor,
        text_ids: Tensor,
        speaker: Tensor,
        noise: Tensor,
        speed: float = 1.0,
        prompt: MelPrompt | None = None,
    ) -> GeneratorOutput:
        """Tokens [1, S], phonemes [1, P], speaker [1, G] -> speech.

        `noise` [1, noise_channels, >= frames of the prior] is drawn before by the caller.
        """
        if prompt is None:
            raise ValueError("this model needs a reference with its transcript: give both")
        condition = self.condition(tokens, text_ids, speaker, speed)
        before = self.condition(prompt.tokens, prompt.text_ids, speaker)
        shared = min(prompt.mel.shape[2], before.shape[2])
        keep = min(shared, self.config.prompt_frames)
        given = prompt.mel[:, :, :shared][:, :, -keep:]
        bands = self.config.matching.transformer.n_mels
        dice = noise.transpose(1, 2).reshape(1, -1, bands).transpose(1, 2)  # [1, M, >= T]
        mel = self.mel(given, before[:, :, :shared][:, :, -keep:], condition, dice)
        audio = self.vocoder(unscaled(mel))
        return GeneratorOutput(audio[:, 0], mel, mel.new_zeros(1, 0))
