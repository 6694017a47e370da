"""The published models' tensors fit ours one to one (after squeezing 1x1 kernels).

Needs the tables of tensor names and shapes that the project keeps beside the code, in the folder
that VOXRAY_PARITY names; skipped where they are absent.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest
import torch
from torch import nn

import recorded
from voxray.config import (
    FlowConfig,
    GPTConfig,
    HifiganConfig,
    PosteriorConfig,
    PriorConfig,
    SpeakerConfig,
    WaveDiscriminatorConfig,
)
from voxray.models.decoder_hifigan import HifiganDecoder
from voxray.models.discriminators import WaveDiscriminators
from voxray.models.flow import Flow
from voxray.models.gpt import GPT
from voxray.models.posterior import Posterior
from voxray.models.prior import Prior
from voxray.models.speaker import SpeakerEncoder

KEYS = recorded.FOLDER / "keys"
pytestmark = pytest.mark.skipif(not KEYS.is_dir(), reason="the shape tables are not here")


def published(name: str, skip: tuple[str, ...] = ()) -> dict[str, list[int]]:
    table = json.loads((KEYS / f"{name}.json").read_text())["keys"]
    return {key: shape for key, shape in table.items() if not key.startswith(skip)}


def squeezed(shape: list[int] | torch.Size) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def assert_same(model: nn.Module, table: dict[str, list[int]]) -> None:
    ours = Counter(squeezed(tensor.shape) for tensor in model.state_dict().values())
    theirs = Counter(squeezed(shape) for shape in table.values())
    assert ours == theirs


def test_gpt() -> None:
    config = GPTConfig(
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
    assert_same(GPT(config), published("s1_v2"))


def generator() -> nn.Module:
    wide = {"hidden": 192, "speaker_width": 512}
    prior = PriorConfig(
        text_symbols=732,
        input_channels=768,
        filter=768,
        content_layers=3,
        text_layers=6,
        joint_layers=3,
        cross_width=512,
        latent_channels=192,
        **wide,
    )
    decoder = HifiganConfig(
        input_channels=192,
        initial_channels=512,
        rates=(10, 8, 2, 2, 2),
        kernels=(16, 16, 8, 2, 2),
        speaker_width=512,
    )
    speaker = SpeakerConfig(input_bins=704, speaker_width=512, mask_convolutions=False)
    parts: list[nn.Module] = [
        Prior(prior),
        Flow(FlowConfig(channels=192, layers=4, **wide)),
        Posterior(PosteriorConfig(input_bins=1025, layers=16, latent_channels=192, **wide)),
        HifiganDecoder(decoder),
        SpeakerEncoder(speaker),
    ]
    return nn.ModuleList(parts)


def test_generator() -> None:
    table = published("s2_v2", skip=("quantizer.", "ssl_proj."))  # these belong to the tokens
    assert_same(generator(), table)


def test_discriminators() -> None:
    config = WaveDiscriminatorConfig(periods=(2, 3, 5, 7, 11))
    assert_same(WaveDiscriminators(config), published("s2D_v2"))


def test_vocoder() -> None:
    config = HifiganConfig(
        input_channels=100,
        initial_channels=512,
        rates=(10, 6, 2, 2, 2),
        kernels=(20, 12, 4, 4, 4),
        speaker_width=0,
        final_bias=True,
    )
    assert_same(HifiganDecoder(config), published("vocoder_v4_weightnorm"))
