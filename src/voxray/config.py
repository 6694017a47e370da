"""Configurations: frozen, strict, one class per module, saved beside the weights.

An unknown key or a wrong type is an error. Defaults are the built-in `mini` model; the published
models state what differs. Lengths are in frames, widths in channels, rates in Hz.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator


def _tuples(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_tuples(item) for item in value)
    return value


class Config(BaseModel):
    """Base of every configuration: cannot be changed once made, accepts no unknown key."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, data: Any) -> Any:  # JSON knows no tuples
        return {k: _tuples(v) for k, v in data.items()} if isinstance(data, dict) else data


class GPTConfig(Config):
    """The text-to-token transformer. Id `codebook_size` is the end-of-speech token."""

    text_symbols: int = 322
    codebook_size: int = 1024
    width: int = 320
    n_layer: int = 6
    n_head: int = 5
    ffn_mult: int = 4
    pre_norm: bool = True
    activation: Literal["gelu", "relu"] = "gelu"
    bos: bool = True  # a learned first audio position; without it row 0 is at the last phone
    context_width: int = 0  # width of context features per phone; 0: none
    dropout: float = 0.0
    max_positions: int = 4096
    guided_heads: tuple[tuple[int, int], ...] = ((2, 0), (3, 0))  # (layer, head)
    kept_heads: tuple[int, ...] = ()  # heads that pruning left in each layer; empty: n_head


class StudentConfig(Config):
    """The small text-to-token model: a BiLSTM over phonemes, LSTMs over tokens, one attention head."""

    kind: Literal["lstm"] = "lstm"
    text_symbols: int = 322
    codebook_size: int = 1024
    width: int = 256
    text_width: int = 128  # of each direction
    n_head: int = 1
    context_width: int = 0
    bos: bool = True
    dropout: float = 0.0
    guided_heads: tuple[tuple[int, int], ...] = ((0, 0),)


class ContentConfig(Config):
    """Content encoder, quantiser and readout. Frames of 20 ms, tokens of 40 ms."""

    n_mels: int = 80
    width: int = 384
    n_layer: int = 4
    n_head: int = 6
    max_frames: int = 1500
    frozen_layers: int = 2  # blocks whose output training caches
    code_width: int = 192
    codebook_size: int = 1024
    text_symbols: int = 322
    readout_width: int = 256
    normalise: bool = True  # code vectors to unit variance; the published models do not


class SpeakerConfig(Config):
    """The reference encoder. `mask_convolutions` keeps padding out of the convolutions."""

    input_bins: int = 80
    hidden: int = 128
    speaker_width: int = 256
    layers: int = 2
    kernel: int = 5
    heads: int = 2
    dropout: float = 0.1
    mask_convolutions: bool = True  # the published models let padding leak over two frames


class SpeakerVerificationConfig(Config):
    """The published speaker-verification network (ERes2NetV2). A block of P planes splits its
    channels into `scale` groups of P * base_width // 64 and puts out P * expansion.
    """

    n_mels: int = 80
    channels: int = 64  # planes of the first stage; each stage doubles them
    base_width: int = 24
    scale: int = 4
    expansion: int = 4
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)  # per stage


class FusionConfig(Config):
    """Joining the speaker vector with an embedding or with a sequence."""

    speaker_width: int = 256
    input_width: int = 256


class PriorConfig(Config):
    """Text-audio prior: three encoders and the cross-attention between."""

    text_symbols: int = 322
    input_channels: int = 256
    hidden: int = 192
    filter: int = 512
    heads: int = 2
    window: int = 4
    kernel: int = 3
    content_layers: int = 2
    text_layers: int = 3
    joint_layers: int = 2
    cross_width: int = 256
    cross_heads: int = 4
    speaker_width: int = 256
    latent_channels: int = 96
    dropout: float = 0.1
    direct: int = 0  # kernel of a linear path from codes and speaker to the mean; 0: none
    pull: float = (
        0.0  # of the cross-attention towards a known phoneme: logits per phoneme of distance
    )
    memory_width: int = 0  # of the look-up in the reference's frames; 0: only a speaker vector
    memory_heads: int = 2


class FlowConfig(Config):
    """Residual-coupling flow."""

    channels: int = 96
    hidden: int = 128
    kernel: int = 5
    layers: int = 3
    couplings: int = 4
    speaker_width: int = 256


class PosteriorConfig(Config):
    """Posterior encoder of the family: used in training only."""

    input_bins: int = 513
    hidden: int = 128
    kernel: int = 5
    layers: int = 8
    latent_channels: int = 96
    speaker_width: int = 256


class ArticlePosteriorConfig(Config):
    """Posterior encoder of the `article` preset: convolutions, GRU, label-free quantiser."""

    input_bins: int = 80
    conv_width: int = 192
    kernel: int = 5
    gru_width: int = 128
    codebook_size: int = 100
    latent_channels: int = 96
    decay: float = 0.99  # of the codebook's moving averages
    dead_below: float = 0.5  # a code used less than this (moving count) is moved
    commitment: float = 0.25


class HifiganConfig(Config):
    """HiFi-GAN decoder; the product of the rates is the samples per latent frame."""

    input_channels: int = 96
    initial_channels: int = 256
    rates: tuple[int, ...] = (10, 6, 2, 2, 2)
    kernels: tuple[int, ...] = (20, 12, 4, 4, 4)
    block_kernels: tuple[int, ...] = (3, 7, 11)
    block_dilations: tuple[int, ...] = (1, 3, 5)
    speaker_width: int = 256  # 0: a vocoder without speaker
    final_bias: bool = False
    rate: int = 24_000

    @property
    def frame_samples(self) -> int:
        """Samples per latent frame."""
        return math.prod(self.rates)

    @property
    def noise_width(self) -> int:
        """White noise per latent frame: it needs none."""
        return 0


class WaveDiscriminatorConfig(Config):
    """Published discriminators: one on the waveform, one per period. `width` scales channels."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    width: int = 1024


class SpectralDiscriminatorConfig(Config):
    """Small discriminators on spectrograms: (window, hop) each; cheap enough for a CPU. With `periods` also some on the
    waveform, of `width` channels, as `WaveDiscriminatorConfig` has them.
    """

    resolutions: tuple[tuple[int, int], ...] = ((512, 128), (1024, 256), (2048, 512))
    channels: int = 16
    layers: int = 4
    periods: tuple[int, ...] = ()
    width: int = 128


class MelPosteriorConfig(Config):
    """Posterior encoder of `mini`: log-mel pairs to latents, all matrix products."""

    n_mels: int = 100
    n_fft: int = 1024
    width: int = 256
    layers: int = 4
    latent_channels: int = 96


class IstftDecoderConfig(Config):
    """Source-filter decoder: two frames of `hop` samples per latent frame."""

    latent_channels: int = 96
    speaker_width: int = 0  # 0: the latents alone say who speaks
    width: int = 256
    layers: int = 6
    n_fft: int = 512
    hop: int = 240
    rate: int = 24_000

    @property
    def frame_samples(self) -> int:
        """Samples per latent frame."""
        return 2 * self.hop

    @property
    def noise_width(self) -> int:
        """White noise per latent frame: one number a sample."""
        return self.frame_samples


class ArticleConfig(Config):
    """The `article` preset: raw text through a GPT-2, alignment search, flow, decoder; no tokens between."""

    name: str = "article"
    text_symbols: int = 1024  # of the byte-level BPE
    text_hidden: int = 768
    text_layers: int = 4
    text_heads: int = 12
    text_positions: int = 512
    text_width: int = 256  # after the projection
    speaker: SpeakerConfig = SpeakerConfig()
    posterior: ArticlePosteriorConfig = ArticlePosteriorConfig(latent_channels=92)
    flow: FlowConfig = FlowConfig()
    decoder: IstftDecoderConfig = IstftDecoderConfig()
    duration_hidden: int = 128
    noise_scale: float = 0.5
    training: str = ""

    @property
    def latent_channels(self) -> int:
        """The posterior's, and four of pitch before them."""
        return self.posterior.latent_channels + 4


class GeneratorConfig(Config):
    """The SoVITS stage: speaker, prior, flow, posterior, decoder."""

    reference: Literal["mel", "spectrogram"] = "mel"  # what the speaker encoder looks at
    speaker: SpeakerConfig = SpeakerConfig()
    verification_width: int = 0  # of a speaker-verification embedding beside it; 0: none
    prior: PriorConfig = PriorConfig(input_channels=192, dropout=0.05, direct=5, pull=1.5)
    flow: FlowConfig = FlowConfig()
    posterior: MelPosteriorConfig | PosteriorConfig = MelPosteriorConfig()
    decoder: IstftDecoderConfig | HifiganConfig = IstftDecoderConfig()
    codebook_size: int = 1024
    noise_scale: float = (
        0.0  # of the prior's noise; while the flow is the identity it is heard as hoarseness
    )
    retrieval: int = (
        0  # latents that stay as predicted, the others are the reference's; 0: all stay
    )
    retrieval_frames: int = 1  # of the reference, that those others are a mean of

    @property
    def sample_rate(self) -> int:
        """Of the audio made."""
        return self.decoder.rate

    @property
    def hop(self) -> int:
        """Samples per latent frame."""
        return self.decoder.frame_samples

    @property
    def noise_channels(self) -> int:
        """Rows of pre-drawn noise per latent frame: the prior's, then the decoder's samples."""
        return self.prior.latent_channels + self.decoder.noise_width


class DiTConfig(Config):
    """Diffusion transformer over mel frames; the defaults are the published models' (v3, v4)."""

    n_mels: int = 100
    condition_width: int = 512
    width: int = 1024
    n_layer: int = 22
    n_head: int = 16
    ffn_mult: int = 2
    rotary_width: int = 64  # channels of the un-split query and key that are turned: head 0's
    condition_layers: int = 4  # ConvNeXt-V2 blocks that read the condition
    condition_mult: int = 2
    condition_kernel: int = 7
    position_kernel: int = 31
    position_groups: int = 16
    time_width: int = 256  # sinusoids of the time and of the step size


class FlowMatchingConfig(Config):
    """Condition -> mel by Euler steps through the transformer's velocity field."""

    transformer: DiTConfig = DiTConfig()
    steps: int = 32
    guidance: float = 0.0  # how far to move away from the unconditioned velocity


class BridgeConfig(Config):
    """Prior features -> condition at the mel's frame rate; v3: factor 1.875, mask_factor 3.875."""

    input_channels: int = 192
    width: int = 512
    factor: float = 2.0  # mel frames per prior frame
    mask_factor: float = 4.0  # frames per semantic token by which the mask is reckoned
    kernel: int = 5
    layers: int = 8
    speaker_width: int = 512


class BigVGANConfig(Config):
    """BigVGAN vocoder (24 kHz, 100 bands); the product of the rates is the samples per frame."""

    n_mels: int = 100
    initial_channels: int = 1536
    rates: tuple[int, ...] = (4, 4, 2, 2, 2, 2)
    kernels: tuple[int, ...] = (8, 8, 4, 4, 4, 4)
    block_kernels: tuple[int, ...] = (3, 7, 11)
    block_dilations: tuple[int, ...] = (1, 3, 5)
    filter_taps: int = 12  # of the low-pass filter around each activation
    rate: int = 24_000

    @property
    def frame_samples(self) -> int:
        """Samples per mel frame."""
        return math.prod(self.rates)


class MatchingGeneratorConfig(Config):
    """The SoVITS stage of v3 and v4: mel by flow matching, then a vocoder. Defaults are v4's."""

    reference: Literal["mel", "spectrogram"] = "spectrogram"
    speaker: SpeakerConfig = SpeakerConfig(
        input_bins=704, speaker_width=512, mask_convolutions=False
    )
    prior: PriorConfig = PriorConfig(
        text_symbols=732,
        input_channels=768,
        filter=768,
        content_layers=3,
        text_layers=6,
        joint_layers=3,
        cross_width=512,
        speaker_width=512,
        latent_channels=192,
    )
    bridge: BridgeConfig = BridgeConfig()
    matching: FlowMatchingConfig = FlowMatchingConfig()
    vocoder: HifiganConfig | BigVGANConfig = HifiganConfig(
        input_channels=100,
        initial_channels=512,
        speaker_width=0,
        final_bias=True,
        rate=48_000,
    )
    mel_rate: int = 32_000  # at which the prompt's mel is taken
    prompt_frames: int = 500  # of the reference, at most
    window_frames: int = 1000  # prompt and target of one run
    codebook_size: int = 1024

    @property
    def sample_rate(self) -> int:
        """Of the audio made."""
        return self.vocoder.rate

    @property
    def hop(self) -> int:
        """Samples per frame of the prior."""
        return round(self.bridge.factor * self.vocoder.frame_samples)

    @property
    def noise_channels(self) -> int:
        """Rows of pre-drawn noise per frame of the prior: enough for its mel frames."""
        return math.ceil(self.bridge.factor) * self.matching.transformer.n_mels


class BundleConfig(Config):
    """All of a voxray model: what `config.json` of a bundle holds."""

    name: str = "mini"
    version: str = ""  # of a published model; empty: ours
    gpt: GPTConfig | StudentConfig = GPTConfig()
    content: ContentConfig = ContentConfig()
    generator: GeneratorConfig | MatchingGeneratorConfig = GeneratorConfig()
    fingerprint: str = ""  # of the text pipeline it was trained with
    temperature: float = 1.0  # at which the GPT is sampled where no other is asked for
    takes: int = 1  # of a sentence, where no other number is asked for
    repetition_penalty: float = 1.35  # likewise
    training: str = ""  # one line: what it was trained on, for how long
    origin: dict[str, Any] = {}  # of a published model: config, info and number format of its files
    voices: str = (
        ""  # the model whose voices are this one's, too: it differs in its GPT stage alone
    )
    base: str = ""  # the model in the package that gives the parts which the folder leaves out
    base_weights: str = ""  # SHA-256 of the base's weights with which these were learnt
    base_codes: str = ""  # SHA-256 of what its tokens mean: the code vectors
