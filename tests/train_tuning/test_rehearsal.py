"""Sentences beyond a voice's clips: said before, said again while it is tuned."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import speechlike
from voxray.bundle import Bundle
from voxray.train import rehearsal
from voxray.train.rehearsal import Rehearsed, put_in, rehearse
from voxray.train.segments import Aligned, write_latents
from voxray.train.slices import Slice
from voxray.train.store import Store
from voxray.train.tuning import Tuning, tune
from voxray.train.voice_store import write_store


@dataclass(frozen=True)
class Size:
    batch: int = 3
    segment_tokens: int = 12
    max_phones: int = 8


FEW = Tuning(
    generator_steps=4, batch=2, segment_tokens=12, check_every=2, save_every=1, warmup=1, rehearse=2
)


@pytest.fixture
def store(listening: Bundle, tmp_path: Path) -> Path:
    texts = ("she keeps old letters", "nobody knew the way", "we walked home")
    pieces = [
        Slice(f"c{n}", Path("x.wav"), 0.0, np.roll(speechlike(3.0), 4_000 * n), 16_000, text)
        for n, text in enumerate(texts)
    ]
    return write_store(tmp_path / "store", listening, pieces[:2], pieces[2:])


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "SENTENCES", {"en": ("Two loaves.", "A grey cat jumped.")})


def planted(count: int = 40) -> Rehearsed:
    """Each phoneme is said by three tokens; the wave and the pitch tell the token."""
    path = np.arange(count) // 3
    return Rehearsed(
        tuple(range(100, 100 + count)),
        np.arange(count),
        path,
        np.repeat(np.arange(count) / 100, 960).astype(np.float32),
        np.repeat(np.arange(count) + 100, 4).astype(np.float32),
    )


def test_stretches_of_it_replace_the_clips_and_the_speaker_stays(
    listening: Bundle, store: Path
) -> None:
    data = Aligned(store)
    if listening.generator.hearing is not None:
        write_latents(store, listening.generator.hearing)
        data.remember(listening.generator.config.prior.latent_channels)
    own, clip, size = data.aligned(Size(), np.random.default_rng(1)), planted(), Size()
    batch = put_in(own, [clip], size, np.random.default_rng(2))
    assert [x.shape for x in batch] == [x.shape for x in own]
    wave, tokens, ids, lengths, reference, f0, band, pointer, taught, said = batch[:10]
    assert torch.equal(reference, own[4]) and torch.equal(taught, own[8])
    assert all(torch.equal(x, y) for x, y in zip(batch[10:], own[10:], strict=True))
    assert torch.equal(tokens, said) and (tokens.diff(dim=1) == 1).all()
    assert torch.allclose(wave[:, ::960] * 100, tokens.float()) and (band == 1).all()
    assert torch.equal(f0[:, ::4], tokens + 100.0)
    for row in range(3):
        meant = clip.path[tokens[row].numpy().repeat(2)] + 100
        assert (ids[row][pointer[row]].numpy() == meant).all() and lengths[row] >= 4
    assert torch.equal(own[1], data.aligned(Size(), np.random.default_rng(1))[1])  # not in place


def test_a_text_of_too_many_phonemes_is_cut_and_its_rest_points_nowhere(
    listening: Bundle, store: Path
) -> None:
    own = Aligned(store).aligned(Size(), np.random.default_rng(1))
    batch = put_in(own, [planted()], Size(max_phones=2), np.random.default_rng(2))
    assert (batch[3] == 2).all() and (batch[7] == -1).any() and batch[7].max() == 1


@pytest.mark.usefixtures("few")
def test_a_model_says_them_in_the_voice_and_says_the_same_again(
    listening: Bundle, tiny: Bundle, store: Path
) -> None:
    wave = speechlike(3.0, 24_000)
    clips = rehearse(listening, Store(store), wave, 5)
    assert clips
    for clip in clips:
        assert len(clip.wave) == 960 * len(clip.tokens) == 240 * len(clip.f0)
        assert len(clip.path) == len(clip.tokens) and clip.path.max() < len(clip.ids)
    again = rehearse(listening, Store(store), wave, 5)
    assert [c.tokens.tolist() for c in again] == [c.tokens.tolist() for c in clips]
    assert rehearse(tiny, Store(store), wave, 5) == []  # it cannot hear itself


@pytest.mark.usefixtures("few")
def test_tuning_keeps_what_is_rehearsed(
    listening: Bundle, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "can_listen", lambda bundle: True)
    monkeypatch.setattr(
        "voxray.train.tuning_generator.rehearse", lambda bundle, store, wave, seed: [planted()]
    )
    rows = {}
    for name, weight in (("without", 0.0), ("with", 50.0)):
        config = FEW.model_copy(
            update={"generator_steps": 24, "kept": weight, "ema": 0.0, "generator_rate": 2e-3}
        )
        tune(copy.deepcopy(listening), store, tmp_path / name, config, only="generator")
        log = (tmp_path / name / "generator" / "log.jsonl").read_text(encoding="utf-8")
        losses = [json.loads(line) for line in log.splitlines()]
        kept = [row["kept"] for row in losses if row["kind"] == "generator"]
        rows[name] = float(np.mean(kept[-6:]))
    assert rows["with"] < rows["without"]
