"""Recorded cases of the signal front ends, the speaker network, and the flow-matching models v3 and v4.

As `parity_cases`: each function yields (name of a recorded array, what voxray computes).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from parity_cases import CASES, Case, Pairs
from torch import Tensor

from voxray.audio import published, resample
from voxray.audio.kaldi import fbank
from voxray.config import HifiganConfig, SpeakerVerificationConfig
from voxray.convert import family, presets, rules_matching
from voxray.convert.lora import merge_lora
from voxray.convert.rename import adopt, fitted, renamed
from voxray.convert.rules_speaker import SPEAKER_VERIFICATION
from voxray.models.decoder_bigvgan import BigVGANDecoder
from voxray.models.decoder_hifigan import HifiganDecoder
from voxray.models.generator_matching import MatchingGenerator
from voxray.models.layers import fuse_weight_norm
from voxray.models.speaker_verification import SpeakerVerifier
from voxray.sites import record


def signal(case: Case) -> Pairs:
    """Spectrogram, mels, both resamplers, filter banks."""
    wave = case.batch("wave32k")
    yield "spectrogram", published.family_spectrogram(wave)[0]
    yield "mel128", published.loss_mel(wave)[0]
    yield "mel128_from_spec", published.loss_mel_of(case.batch("spectrogram"))[0]
    yield "mel_v4", published.vocoder_mel(wave, 32_000)[0]
    yield "mel_v3", published.vocoder_mel(case.batch("wave24k"), 24_000)[0]
    high = case.tensor("wave44k")
    yield "resample_44100_32000", published.sinc_resample(high, 44_100, 32_000)
    yield "resample_44100_24000", published.sinc_resample(high, 44_100, 24_000)
    yield "resample_32000_16000", published.sinc_resample(wave[0], 32_000, 16_000)
    yield "soxr_44100_16000", resample(case.arrays["wave44k"], 44_100, 16_000)
    yield "fbank80", fbank(case.arrays["wave16k"], centred=False)


def verification(case: Case) -> Pairs:
    """The speaker-verification network, from its recorded filter banks."""
    network = SpeakerVerifier(SpeakerVerificationConfig()).eval()
    adopt(network, case.weights, SPEAKER_VERIFICATION)
    yield "fbank80", fbank(case.arrays["wave16k"], centred=False)[: len(case.arrays["fbank80"])]
    with record(network, ["layers.*", "fused"]) as seen:
        embedding = network(case.batch("fbank80"))
    for number in range(4):
        yield f"layer{number + 1}_mean_over_time", seen[f"layers.{number}"][0][0].mean(-1)
    yield "fuse34_mean_over_time", seen["fused"][0][0].mean(-1)
    yield "embedding", embedding[0]


def _matching(case: Case, weights: dict[str, Tensor] | None = None) -> MatchingGenerator:
    """The v3 or v4 stage; its vocoder is a case of its own and stays random here."""

    def build() -> MatchingGenerator:
        small = HifiganConfig(
            input_channels=100, initial_channels=32, speaker_width=0, final_bias=True
        )
        config = presets.MATCHING[case.version].model_copy(update={"vocoder": small})
        generator = MatchingGenerator(config)
        own = {f"vocoder.{k}": v for k, v in generator.vocoder.state_dict().items()}
        parts = renamed(weights or case.weights, rules_matching.FLOW_MATCHING) | own
        shapes = {name: tensor.shape for name, tensor in generator.state_dict().items()}
        generator.load_state_dict(fitted(parts, shapes))
        fuse_weight_norm(generator)
        return generator.eval()

    return case.model("merged" if weights else "matching", build)


def condition(case: Case) -> Pairs:
    """Speaker vector and condition features of prompt and target, at the recorded speeds."""
    generator = _matching(case)
    speaker = generator.speaker(case.batch("refer_spec"))  # [1, G, 1]
    yield "ge", speaker[0]

    def features(tokens: str, phones: str, speed: float = 1.0) -> Tensor:
        made = generator.condition(case.batch(tokens), case.batch(phones), speaker[..., 0], speed)
        return made[0]

    if case.has("fea_prompt"):
        yield "fea_prompt", features("prompt_codes", "prompt_phones")
    if case.has("fea"):
        yield "fea", features("codes", "phones")
    for name in case.arrays:
        if name.startswith("fea_speed"):
            yield name, features("codes", "phones", int(name.removeprefix("fea_speed")) / 100)
    if case.has("ssl"):
        quantiser = case.model("quantiser", lambda: family.build_quantiser(case.weights))
        vectors = quantiser.project(case.batch("ssl").transpose(1, 2))
        yield "ssl_codes", quantiser.codes(vectors)[0]


def _velocity(generator: MatchingGenerator, case: Case, mu: Tensor) -> Tensor:
    """One velocity at time .25 with a step of .125, prompt frames of x at zero; [T, M]."""
    prompt, noise = case.batch("prompt_mel"), case.batch("noise").clone()
    noise[:, :, : prompt.shape[2]] = 0
    conditions = generator.cfm.conditions(mu, prompt)
    return generator.cfm.velocity_at(noise.transpose(1, 2), conditions, 0.25, 0.125)[0]


def matching(case: Case) -> Pairs:
    """A velocity, and the solver with several step counts, with and without guidance."""
    generator = _matching(case)
    mu = case.batch("mu").transpose(1, 2)  # [1, W, T]
    prompt, noise = case.batch("prompt_mel"), case.batch("noise")
    yield "velocity", _velocity(generator, case, mu)
    yield "mel_4_zero", generator.cfm(mu, prompt, torch.zeros_like(noise), 4)[0]
    yield "mel_8_zero", generator.cfm(mu, prompt, torch.zeros_like(noise), 8)[0]
    yield "mel_4_noise", generator.cfm(mu, prompt, noise, 4)[0]
    yield "mel_2_noise_cfg07", generator.cfm(mu, prompt, noise, 2, 0.7)[0]


def merged(case: Case) -> Pairs:
    """A base with a low-rank delta of rank 32 merged into it, drawn with the next seed."""
    delta = case.table(f"s2_{case.version}_lora_r32.json", case.meta.get("weight_seed", 0) + 1)
    weights = merge_lora(case.weights, delta)
    name = "cfm.estimator.transformer_blocks.3.attn.to_q.weight"
    yield "to_q_block3_rows0to7", weights[name][:8]
    generator = _matching(case, weights)
    speaker = generator.speaker(case.batch("refer_spec"))
    yield "ge", speaker[0]
    fea = generator.condition(case.batch("codes"), case.batch("phones"), speaker[..., 0])
    yield "fea", fea[0]
    mu = torch.cat([case.batch("fea_prompt"), fea], dim=2)
    yield "velocity", _velocity(generator, case, mu)


def hifigan(case: Case) -> Pairs:
    """The vocoder of v4."""
    vocoder = HifiganDecoder(presets.V4.vocoder).eval()
    fuse_weight_norm(vocoder)
    adopt(vocoder, case.weights, rules_matching.VOCODER)
    yield "wave", vocoder(case.batch("mel"))[0]
    normed = HifiganDecoder(presets.V4.vocoder).eval()
    weights = case.table("vocoder_v4_weightnorm.json", case.meta.get("weight_seed", 0))
    adopt(normed, weights, rules_matching.VOCODER)
    yield "wave_weightnorm", normed(case.batch("mel"))[0]


def bigvgan(case: Case) -> Pairs:
    """The vocoder of v3."""
    vocoder = BigVGANDecoder(presets.V3.vocoder).eval()
    fuse_weight_norm(vocoder)
    adopt(vocoder, case.weights, rules_matching.BIGVGAN)
    mel = case.batch("mel")
    yield "conv_pre", vocoder.before(mel)[0]
    with record(vocoder, "stages.*") as seen:
        wave = vocoder(mel)
    blocks = len(vocoder.config.block_kernels)  # the recording holds their sum, not their mean
    yield "resblock0_rows0to31", blocks * seen["stages.0"][0][0, :32]
    last = seen[f"stages.{len(vocoder.stages) - 1}"][0]
    yield "activation_post", vocoder.last_activation(last)[0]
    yield "wave", wave[0]


ALL_CASES: list[tuple[str, Callable[[Case], Pairs]]] = [
    *CASES,
    (r"^signal$", signal),
    (r"^sv_", verification),
    (r"^s2_v[34]_encp", condition),
    (r"^s2_v[34]_cfm$", matching),
    (r"^s2_v[34]_lora_merge$", merged),
    (r"^vocoder_v4$", hifigan),
    (r"^bigvgan", bigvgan),
]
