"""The published models as configurations of our classes: each preset states only its difference."""

from __future__ import annotations

from voxray.config import (
    BigVGANConfig,
    BridgeConfig,
    ContentConfig,
    FlowConfig,
    GeneratorConfig,
    GPTConfig,
    HifiganConfig,
    MatchingGeneratorConfig,
    PosteriorConfig,
    PriorConfig,
    SpeakerConfig,
    WaveDiscriminatorConfig,
)

SYMBOLS = {"v1": 322, "v2": 732, "v2pro": 732, "v2proplus": 732, "v3": 732, "v4": 732}
GPT_SLOTS = {"v1": 512}  # rows of the GPT's text table, where they differ from the symbols
EMBEDDING = 20_480  # of the speaker-verification network

GPT = GPTConfig(
    text_symbols=732,
    width=512,
    n_layer=24,
    n_head=16,
    pre_norm=False,
    activation="relu",
    bos=False,
    context_width=1024,
    guided_heads=(),
)

QUANTISER = ContentConfig(width=768, code_width=768, normalise=False, text_symbols=732)

PRIOR = PriorConfig(
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

SPEAKER = SpeakerConfig(input_bins=704, speaker_width=512, mask_convolutions=False)

V2 = GeneratorConfig(
    reference="spectrogram",
    speaker=SPEAKER,
    prior=PRIOR,
    flow=FlowConfig(channels=192, hidden=192, layers=4, speaker_width=512),
    posterior=PosteriorConfig(
        input_bins=1025, hidden=192, layers=16, latent_channels=192, speaker_width=512
    ),
    decoder=HifiganConfig(
        input_channels=192,
        initial_channels=512,
        rates=(10, 8, 2, 2, 2),
        kernels=(16, 16, 8, 2, 2),
        speaker_width=512,
        rate=32_000,
    ),
    noise_scale=0.5,
)

V1 = V2.model_copy(
    update={
        "speaker": SPEAKER.model_copy(update={"input_bins": 1025}),
        "prior": PRIOR.model_copy(update={"text_symbols": 322}),
    }
)


def _widened(base: GeneratorConfig, speaker_width: int, **decoder: object) -> GeneratorConfig:
    """The Pro models: a wider speaker vector, joined with a verification embedding."""
    wide = {"speaker_width": speaker_width}
    return base.model_copy(
        update={
            "verification_width": EMBEDDING,
            "speaker": base.speaker.model_copy(update=wide),
            "prior": base.prior.model_copy(update=wide),
            "flow": base.flow.model_copy(update=wide),
            "posterior": base.posterior.model_copy(update=wide),
            "decoder": base.decoder.model_copy(update={**wide, **decoder}),
        }
    )


V2PRO = _widened(V2, 1024)
V2PROPLUS = _widened(V2, 1024, initial_channels=768, kernels=(20, 16, 8, 2, 2))

V4 = MatchingGeneratorConfig()
V3 = MatchingGeneratorConfig(
    bridge=BridgeConfig(factor=1.875, mask_factor=3.875),
    vocoder=BigVGANConfig(),
    mel_rate=24_000,
    prompt_frames=468,
    window_frames=934,
)

GENERATORS: dict[str, GeneratorConfig] = {
    "v1": V1, "v2": V2, "v2pro": V2PRO, "v2proplus": V2PROPLUS,
}  # fmt: skip
VOCODER_KINDS = {"v3": "bigvgan", "v4": "vocoder-v4"}
MATCHING: dict[str, MatchingGeneratorConfig] = {"v3": V3, "v4": V4}
DISCRIMINATORS = {
    "v2": WaveDiscriminatorConfig(),
    "v2pro": WaveDiscriminatorConfig(periods=(2, 3, 5, 7, 11, 17, 23)),
}


def gpt(version: str) -> GPTConfig:
    """The GPT stage of a version."""
    return GPT.model_copy(update={"text_symbols": GPT_SLOTS.get(version, SYMBOLS[version])})
