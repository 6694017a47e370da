"""The flow-matching SoVITS stage as a whole: windows, prompts, sites, and the published names."""

from __future__ import annotations

import pytest
import torch

import recorded
from voxray.config import (
    BridgeConfig,
    DiTConfig,
    FlowMatchingConfig,
    HifiganConfig,
    MatchingGeneratorConfig,
    PriorConfig,
    SpeakerConfig,
)
from voxray.convert import presets, rules_matching
from voxray.convert.rename import fitted, folded, renamed
from voxray.models.generator_matching import MatchingGenerator, MelPrompt
from voxray.sites import record, sites

CONFIG = MatchingGeneratorConfig(
    speaker=SpeakerConfig(input_bins=704, hidden=8, speaker_width=8, mask_convolutions=False),
    prior=PriorConfig(
        text_symbols=20, input_channels=12, hidden=16, filter=16, content_layers=1, text_layers=1,
        joint_layers=1, cross_width=8, cross_heads=2, speaker_width=8, latent_channels=4,
    ),
    bridge=BridgeConfig(input_channels=16, width=16, layers=1, speaker_width=8),
    matching=FlowMatchingConfig(
        transformer=DiTConfig(
            n_mels=10, condition_width=16, width=32, n_layer=1, n_head=2, rotary_width=16,
            condition_layers=1, position_groups=4, time_width=16,
        ),
        steps=2,
    ),
    vocoder=HifiganConfig(
        input_channels=10, initial_channels=16, rates=(4, 2), kernels=(8, 4), speaker_width=0,
        rate=800,
    ),
    prompt_frames=12,
    window_frames=30,
    codebook_size=16,
)  # fmt: skip


@pytest.fixture(scope="module")
def generator() -> MatchingGenerator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = MatchingGenerator(CONFIG).eval()
        made.codebook.normal_()
        for parameter in made.cfm.parameters():  # a fresh one is zero at many places
            parameter.data.add_(0.02 * torch.randn(parameter.shape))
    return made


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs(tokens: int = 20) -> dict[str, torch.Tensor]:
    return {
        "tokens": torch.arange(tokens)[None] % 16,
        "text_ids": torch.tensor([[3, 5, 7]]),
        "speaker": some(1, 8),
        "noise": some(1, CONFIG.noise_channels, 2 * tokens + 1),
    }


PROMPT = MelPrompt(some(1, 10, 18), torch.tensor([[1, 2, 3, 4]]), torch.tensor([[2, 2]]))


@torch.inference_mode()
def test_speech_longer_than_a_window(generator: MatchingGenerator) -> None:
    made = generator.decode(**inputs(), prompt=PROMPT)  # 80 mel frames, windows of 30
    assert made.audio.shape == (1, 80 * 8) and made.latents.shape == (1, 10, 80)
    assert CONFIG.hop == 16 and CONFIG.sample_rate == 800
    again = generator.decode(**inputs(), prompt=PROMPT)
    assert torch.equal(made.audio, again.audio)


@torch.inference_mode()
def test_the_prompt_matters_and_is_needed(generator: MatchingGenerator) -> None:
    other = MelPrompt(some(1, 10, 18, seed=1), PROMPT.tokens, PROMPT.text_ids)
    one, two = (generator.decode(**inputs(4), prompt=p).latents for p in (PROMPT, other))
    assert not torch.allclose(one, two)
    with pytest.raises(ValueError, match="transcript"):
        generator.decode(**inputs(4))


@torch.inference_mode()
def test_every_site_is_passed(generator: MatchingGenerator) -> None:
    with record(generator, "*") as seen:
        generator.speaker_vector(some(1, 6400))
        generator.decode(**inputs(4), prompt=PROMPT)
    assert seen.keys() == sites(generator).keys()


@recorded.needed
@pytest.mark.parametrize(
    ("version", "vocoder", "rules"),
    [("v3", "bigvgan_24k", rules_matching.BIGVGAN), ("v4", "vocoder_v4", rules_matching.VOCODER)],
)
def test_published_names_fill_it(version: str, vocoder: str, rules: list) -> None:
    with torch.device("meta"):
        ours = MatchingGenerator(presets.MATCHING[version]).state_dict()
    parts = renamed(recorded.blanks(f"s2_{version}"), rules_matching.FLOW_MATCHING)
    sound = renamed(folded(recorded.blanks(vocoder)), rules)
    parts.update({f"vocoder.{name}": tensor for name, tensor in sound.items()})
    fitted(parts, {name: tensor.shape for name, tensor in ours.items()})
