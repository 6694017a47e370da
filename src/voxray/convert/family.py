"""Published weights -> our modules: the presets' configurations, filled through the rename rules.

In: the tensors of a published file by their own names (`reader.read(path).tensors`) and the version
that `detect.identify` found. Out: modules in eval mode. ValueError names the tensors that do not fit.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from voxray.models.discriminators import WaveDiscriminators
from voxray.models.generator import Generator
from voxray.models.generator_matching import MatchingGenerator
from voxray.models.gpt import GPT
from voxray.tokens.quantiser import Quantiser

from . import presets, rules_family, rules_matching
from .rename import adopt, fitted, folded, renamed

POSTERIOR = "enc_q."


def build_gpt(version: str, state: Mapping[str, Tensor]) -> GPT:
    """The GPT stage from an s1 file."""
    gpt = GPT(presets.gpt(version))
    adopt(gpt, state, rules_family.GPT)
    return gpt.eval()


def build_quantiser(state: Mapping[str, Tensor]) -> Quantiser:
    """Projection and codebook from an s2 file: HuBERT features -> semantic tokens."""
    quantiser = Quantiser(presets.QUANTISER)
    adopt(quantiser, state, rules_family.QUANTISER, rules_family.QUANTISER_RESHAPES)
    return quantiser.eval()


def build_generator(version: str, state: Mapping[str, Tensor]) -> Generator:
    """The SoVITS stage from an s2 file; with the posterior if the file holds it."""
    trained = any(name.startswith(POSTERIOR) for name in state)
    generator = Generator(presets.GENERATORS[version], training_parts=trained)
    adopt(generator, state, rules_family.GENERATOR)
    return generator.eval()


def build_matching(
    version: str, state: Mapping[str, Tensor], vocoder: Mapping[str, Tensor]
) -> MatchingGenerator:
    """The SoVITS stage of v3 or v4 from a whole s2 file (a LoRA merged in) and its vocoder file."""
    generator = MatchingGenerator(presets.MATCHING[version])
    parts = renamed(state, rules_matching.FLOW_MATCHING)
    rules = rules_matching.BIGVGAN if version == "v3" else rules_matching.VOCODER
    parts.update({f"vocoder.{name}": t for name, t in renamed(folded(vocoder), rules).items()})
    shapes = {name: tensor.shape for name, tensor in generator.state_dict().items()}
    generator.load_state_dict(fitted(parts, shapes))
    return generator.eval()


def build_discriminators(version: str, state: Mapping[str, Tensor]) -> nn.Module:
    """The discriminators of a version."""
    discriminators = WaveDiscriminators(presets.DISCRIMINATORS[version])
    adopt(discriminators, state, rules_family.DISCRIMINATORS)
    return discriminators.eval()
