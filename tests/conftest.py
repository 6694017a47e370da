"""Shared fixtures: a tiny system built from the real classes, with random weights.

Everything runs on one thread, child processes too: models this small gain nothing from a second one,
and on a busy machine threads that wait for each other take ten times as long.
"""

from __future__ import annotations

import copy
import gc
import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from voxray import audio
from voxray.bundle import Bundle
from voxray.config import (
    BundleConfig,
    ContentConfig,
    FlowConfig,
    GeneratorConfig,
    GPTConfig,
    IstftDecoderConfig,
    PriorConfig,
    SpeakerConfig,
)
from voxray.models.calibration import neutral
from voxray.tokens.content import Readout
from voxray.tokens.phones import PhoneTable
from voxray.voice import Voice

os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

# A busy machine may stand still for minutes: no test fails for that.
settings.register_profile("voxray", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("voxray")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones come last."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


def pytest_collection_finish() -> None:
    """What is there now stays to the end: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


TINY = BundleConfig(
    name="tiny",
    gpt=GPTConfig(width=32, n_layer=2, n_head=2, guided_heads=((0, 0), (1, 1))),
    generator=GeneratorConfig(
        speaker=SpeakerConfig(hidden=16),
        prior=PriorConfig(
            input_channels=24, hidden=16, filter=32, content_layers=1, text_layers=1,
            joint_layers=1, cross_width=16, cross_heads=2, direct=3,
        ),
        flow=FlowConfig(hidden=16, layers=1, couplings=2),
        decoder=IstftDecoderConfig(width=16, layers=1),
    ),
    content=ContentConfig(width=32, n_layer=2, n_head=2, frozen_layers=1, code_width=24),
)  # fmt: skip


@pytest.fixture(scope="session")
def tiny() -> Bundle:
    """A whole system, two layers and width 32, that makes noise."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bundle = Bundle.build(TINY)
        bundle.quantiser.codebook.normal_()
        bundle.generator.codebook.normal_()
    return bundle


@pytest.fixture
def voice() -> Voice:
    """A voice that nobody has."""
    return Voice("nobody", torch.randn(256, generator=torch.Generator().manual_seed(1)))


@pytest.fixture(scope="session")
def remembering() -> Bundle:
    """The tiny system with a look-up in the reference's frames that is heard, and fine latents taken from them."""
    prior = TINY.generator.prior.model_copy(update={"memory_width": 96, "memory_heads": 2})
    generator = TINY.generator.model_copy(update={"prior": prior, "retrieval": 16})
    config = TINY.model_copy(update={"name": "remembering", "generator": generator})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bundle = Bundle.build(config)
        bundle.quantiser.codebook.normal_()
        bundle.generator.codebook.normal_()
        reader, direct = bundle.generator.prior.memory, bundle.generator.prior.direct
        assert reader is not None and direct is not None
        with torch.no_grad():
            for part in (direct.codes, reader.ask, reader.joint_out, reader.mean_out):
                part.weight.normal_(std=0.1)
    return bundle


def with_memory(voice: Voice, seed: int = 2, tokens: int = 30) -> Voice:
    """A voice with frames of a reference that was never heard."""
    dice = torch.Generator().manual_seed(seed)
    unlike = neutral(1, 96, TINY.generator.prior.input_channels)[0]  # [Z, F + 2]
    return replace(
        voice,
        memory_tokens=torch.randint(0, 1024, (tokens,), generator=dice).to(torch.int16),
        memory_latents=torch.randn(96, 2 * tokens, generator=dice).half(),
        memory_correction=(unlike + 0.02 * torch.randn(unlike.shape, generator=dice)).half(),
    )


def speechlike(seconds: float, rate: int = 16_000, noise_db: float = -60.0) -> np.ndarray:
    """Something with the syllables and the harmonics of speech, and pauses."""
    time = np.arange(round(seconds * rate)) / rate
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    tone = sum(np.sin(k * phase) / k for k in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 3.5 * time), 0, None) ** 0.5
    phrases = (np.sin(2 * np.pi * 0.4 * time + 0.5) > -0.6).astype(float)
    hiss = np.random.default_rng(0).standard_normal(len(time)) * 10 ** (noise_db / 20)
    return (0.25 * tone * syllables * phrases + hiss).astype(np.float32)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Four seconds that pass for speech."""
    path = tmp_path / "someone.wav"
    audio.write_audio(path, speechlike(4.0), 16_000)
    return path


@pytest.fixture(autouse=True)
def _own_records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests leave nothing in the user's home: their records lie in one temporary folder."""
    from voxray import trust

    trust.use(tmp_path_factory.getbasetemp() / "trust")
    yield
    trust.use(None)


@pytest.fixture
def records_folder(tmp_path: Path, _own_records: None) -> Iterator[Path]:
    """Records of this test alone, empty."""
    from voxray import trust
    from voxray.trust import store

    trust.use(tmp_path / "records")
    yield tmp_path / "records"
    store.forget()


@pytest.fixture(autouse=True)
def _quiet_voices() -> None:
    warnings.simplefilter("ignore")


@pytest.fixture
def listening(tiny: Bundle) -> Bundle:
    """The tiny system with what it hears itself by."""
    bundle = copy.deepcopy(tiny)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        readout = Readout(bundle.config.content).eval()  # type: ignore[arg-type]
    bundle.phones = PhoneTable.of(readout, bundle.quantiser.codebook)
    return bundle
