"""Every published version, small: all sites of the design are there, passed and heard; voices never mix."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from test_matching_round_trip import V4 as MANY_STEPS
from test_round_trip import GPT, QUANTISER
from test_round_trip import V2 as WIDE
from torch import Tensor

from voxray.bundle import FamilyBundle
from voxray.config import BigVGANConfig, BundleConfig, GeneratorConfig
from voxray.convert import presets
from voxray.engine import check_options
from voxray.models.generator_matching import MatchingGenerator, MelPrompt
from voxray.pipeline import Pipeline
from voxray.sites import attach, record, sites
from voxray.voice import Voice

ATTENTION = [f"attn.{part}" for part in "q k v bias pattern z".split()]
V2 = WIDE.model_copy(update={"decoder": WIDE.decoder.model_copy(update={"initial_channels": 16})})
V4 = MANY_STEPS.model_copy(update={"matching": MANY_STEPS.matching.model_copy(update={"steps": 2})})
BIGVGAN = BigVGANConfig(
    n_mels=10, initial_channels=16, rates=(4, 2), kernels=(8, 4), block_kernels=(3,),
    block_dilations=(1,),
)  # fmt: skip


def pro(**decoder: object) -> GeneratorConfig:
    """`presets._widened` at a size that a test can build."""
    return presets._widened(V2, 1024, **decoder).model_copy(update={"verification_width": 16})


GENERATORS = {
    "v1": V2.model_copy(
        update={
            "speaker": V2.speaker.model_copy(update={"input_bins": 1025}),
            "prior": V2.prior.model_copy(update={"text_symbols": 322}),
        }
    ),
    "v2": V2,
    "v2pro": pro(),
    "v2proplus": pro(initial_channels=24, kernels=(20, 80)),
    "v3": V4.model_copy(
        update={
            "bridge": V4.bridge.model_copy(update={"factor": 1.875, "mask_factor": 3.875}),
            "vocoder": BIGVGAN,
        }
    ),
    "v4": V4,
}


@pytest.fixture(scope="module", params=GENERATORS)
def family(request: pytest.FixtureRequest) -> FamilyBundle:
    version = request.param
    config = BundleConfig(
        name=version, version=version, gpt=GPT, content=QUANTISER, generator=GENERATORS[version]
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        models = FamilyBundle.build(config)
        models.generator.codebook.normal_()
        models.quantiser.codebook.normal_()
        for parameter in models.generator.parameters():  # a fresh one is zero at many places
            parameter.data.add_(0.02 * torch.randn(parameter.shape))
    models.ready("float32")
    return models


def halves(models: FamilyBundle) -> dict[str, torch.nn.Module]:
    return {"gpt": models.gpt, "generator": models.generator, "quantiser": models.quantiser}


@torch.inference_mode()
def everything(models: FamilyBundle) -> Tensor:
    """All that the model's halves give for one input, in one row."""
    dice = torch.Generator().manual_seed(0)
    text, tokens = torch.tensor([[3, 5, 7]]), torch.arange(6)[None]
    logits, cache = models.gpt.prefill(text, torch.tensor([3]), tokens)
    step = models.gpt.step(torch.tensor([4]), cache)
    quantiser, generator = models.quantiser, models.generator
    codes = quantiser.codes(quantiser.project(torch.randn(1, 40, 24, generator=dice)))
    wave = torch.randn(1, 32_000, generator=dice)
    more: dict[str, object] = {}
    if isinstance(generator, MatchingGenerator):
        speaker = generator.speaker_vector(wave)
        mel = torch.randn(1, 10, 14, generator=dice)
        more["prompt"] = MelPrompt(mel, torch.tensor([[1, 2, 3]]), torch.tensor([[2, 2]]))
    else:
        heard = torch.randn(1, 16, generator=dice) if generator.fusion is not None else None
        speaker = generator.speaker_vector(wave, heard)
    noise = torch.randn(1, generator.config.noise_channels, 13, generator=dice)
    made = generator.decode(tokens, text, speaker, noise, **more)  # type: ignore[arg-type]
    parts = (logits, step, quantiser.embed(codes), speaker, made.latents, made.audio)
    return torch.cat([part.flatten().float() for part in parts])


def test_the_sites_of_the_design_are_there_and_passed(family: FamilyBundle) -> None:
    models = halves(family)
    wanted = {f"gpt.blocks.{i}.{part}" for i in (0, 1) for part in [*ATTENTION, "mlp", "resid"]}
    wanted |= {"gpt.embed", "gpt.logits", "generator.codes", "generator.speaker.vector"}
    wanted |= {f"generator.prior.{part}" for part in [*ATTENTION, "text", "mean", "log_std"]}
    if isinstance(family.generator, MatchingGenerator):
        wanted |= {"generator.bridge.out", "generator.cfm.velocity", "generator.vocoder.stages.1"}
    else:
        wanted |= {f"generator.flow.couplings.{i}.out" for i in range(4)}
        wanted |= {f"generator.decoder.stages.{i}" for i in range(2)}
    assert wanted <= sites(models).keys()
    with record(models, "*") as seen:
        everything(family)
    assert seen.keys() == sites(models).keys()


def sloped(x: Tensor) -> Tensor:
    """Halved, and different everywhere: a change that no softmax forgives."""
    return 0.5 * x + torch.linspace(0, 1, x.numel()).reshape(x.shape).to(x.dtype)


def test_an_edit_at_every_site_is_heard(family: FamilyBundle) -> None:
    plain, models = everything(family), halves(family)
    unused = {  # flow matching goes on from the prior's features: its Gaussian says nothing there
        "generator.prior.mean", "generator.prior.log_std",
    } if isinstance(family.generator, MatchingGenerator) else set()  # fmt: skip
    silent = set()
    for name in sites(models):
        with attach(models, {name: sloped}):
            if torch.equal(everything(family), plain):
                silent.add(name)
    assert silent == unused
    assert torch.equal(everything(family), plain)


def test_voices_never_mix_in_threads(family: FamilyBundle) -> None:
    pipeline = Pipeline(family, family.text_pipeline())
    width = family.generator.config.speaker.speaker_width

    def say(number: int) -> np.ndarray:
        dice = torch.Generator().manual_seed(number)
        prompt = {} if family.streams else {"prompt_mel": torch.randn(10, 14, generator=dice)}
        voice = Voice(
            f"voice {number}", torch.randn(width, generator=dice), (1, 2, number), (5, 6),
            prompt_context=torch.zeros(2, 8), **prompt,  # type: ignore[arg-type]
        )  # fmt: skip
        options = check_options({"seed": number, "floor": 26, "max_tokens": 26})
        if number % 2:
            return np.concatenate(list(pipeline.stream("Hello there.", voice, options)))
        return pipeline.synthesise("Hello there.", voice, options).audio

    wanted = [say(number) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(say, range(4)))
    assert all(np.array_equal(a, b) for a, b in zip(wanted, found, strict=True))
    assert not np.array_equal(wanted[0][:1000], wanted[2][:1000])
