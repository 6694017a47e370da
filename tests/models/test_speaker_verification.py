"""The published speaker-verification network: the recorded embedding; shapes and sites when tiny.

The recorded embedding lies in the folder that VOXRAY_PARITY names, else beside the checkout; where
there is none, its tests are skipped.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from voxray.config import SpeakerVerificationConfig
from voxray.convert.rename import adopt, fitted, renamed
from voxray.convert.rules_speaker import SPEAKER_VERIFICATION
from voxray.models.speaker_verification import SpeakerVerifier
from voxray.sites import attach, record, sites

BESIDE = Path(__file__).parents[2].parent / "shared" / "parity"
PARITY = Path(os.environ.get("VOXRAY_PARITY", BESIDE))
recorded = pytest.mark.skipif(not PARITY.is_dir(), reason="the recorded embedding is not here")
TINY = SpeakerVerificationConfig(channels=8, base_width=32, expansion=2, blocks=(1, 1, 2, 1))
NAMES = ["layers.0", "layers.1", "layers.2", "layers.3", "fused", "embedding"]


@pytest.fixture
def network() -> SpeakerVerifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SpeakerVerifier(TINY).eval()


def features(batch: int = 2, frames: int = 24) -> torch.Tensor:
    return torch.randn(batch, frames, 80, generator=torch.Generator().manual_seed(2))


def table() -> dict[str, list[int]]:
    return json.loads((PARITY / "keys" / "sv_eres2netv2.json").read_text())["keys"]


def published_weights() -> dict[str, torch.Tensor]:
    spec = importlib.util.spec_from_file_location("weights", PARITY / "weights.py")
    assert spec is not None and spec.loader is not None
    weights: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(weights)
    arrays = weights.fill(table(), 0)
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


@recorded
def test_every_published_tensor_has_a_place() -> None:
    with torch.device("meta"):
        state = SpeakerVerifier(SpeakerVerificationConfig()).state_dict()
        theirs = {name: torch.empty(shape) for name, shape in table().items()}
    wanted = {name: tensor.shape for name, tensor in state.items()}
    assert fitted(renamed(theirs, SPEAKER_VERIFICATION), wanted).keys() == state.keys()


@recorded
@pytest.mark.slow
@pytest.mark.chosen
def test_embedding_is_the_recorded_one() -> None:
    network = SpeakerVerifier(SpeakerVerificationConfig()).eval()
    adopt(network, published_weights(), SPEAKER_VERIFICATION)
    with np.load(PARITY / "cases" / "sv_eres2netv2.npz") as arrays:
        case = {name: arrays[name] for name in arrays.files if name != "meta"}
    with torch.inference_mode(), record(network) as taken:
        from_wave = network.embed(torch.from_numpy(case["wave16k"])[None])
        from_features = network(torch.from_numpy(case["fbank80"])[None])
    made = {f"layer{i + 1}_mean_over_time": taken[f"layers.{i}"][0].mean(-1) for i in range(4)}
    made |= {"fuse34_mean_over_time": taken["fused"][0].mean(-1), "embedding": from_wave}
    for name, tensor in [*made.items(), ("embedding", from_features)]:
        ours, theirs = tensor[0].double().numpy(), case[name].astype(float)
        assert ours.shape == theirs.shape
        off = ours - theirs
        assert np.linalg.norm(off) <= 3e-5 * np.linalg.norm(theirs), name
        assert np.abs(off).max() <= 3e-4 * np.sqrt(np.square(theirs).mean()), name


def test_shapes(network: SpeakerVerifier) -> None:
    with torch.inference_mode(), record(network) as taken:
        assert network(features()).shape == (2, 128 * 10)
        assert network.embed(torch.randn(2, 4_000) / 10).shape == (2, 128 * 10)
    assert [tuple(taken[name][0].shape) for name in NAMES[:5]] == [
        (2, 16, 80, 24),
        (2, 32, 40, 12),
        (2, 64, 20, 6),
        (2, 128, 10, 3),
        (2, 128, 10, 3),
    ]
    assert torch.allclose(taken["fused"][0].flatten(1, 2).mean(-1), taken["embedding"][0])


def test_each_row_is_alone(network: SpeakerVerifier) -> None:
    both = features()
    with torch.inference_mode():
        assert torch.allclose(network(both)[1:], network(both[1:]), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_each_site_can_be_edited(network: SpeakerVerifier, name: str) -> None:
    assert list(sites(network)) == NAMES
    with torch.inference_mode():
        plain = network(features())
        with attach(network, {name: lambda x: 0.5 * x}):
            assert not torch.allclose(network(features()), plain)
        assert torch.equal(network(features()), plain)
