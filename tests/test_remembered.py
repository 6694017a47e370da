"""What training remembers of a reference: other clips, or what lies apart from the segment; never the segment."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import speechlike
from voxray import audio
from voxray.config import MelPosteriorConfig
from voxray.models.posterior_mel import LinearLatents
from voxray.train import segments
from voxray.train.prepare import add_pitch, prepare
from voxray.train.segments import Aligned, memory_of, write_latents
from voxray.train.store import Store


class Size:
    batch, segment_tokens, max_phones = 3, 20, 8


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two clips of one speaker, one of another; a token's number is its place in the store."""
    lines = ["path\tspeaker\tlanguage\ttext\tsplit"]
    for i, speaker in enumerate(("a", "a", "b")):
        audio.write_audio(tmp_path / f"{i}.wav", speechlike(4.0), 16_000)
        lines.append(f"{i}.wav\t{speaker}\ten\tHi.\ttrain")
    (tmp_path / "people.tsv").write_text("\n".join(lines) + "\n")
    folder = tmp_path / "data"
    prepare([tmp_path / "people.tsv"], folder)
    add_pitch(folder)
    rows = [{"name": f"{i}.wav", "ids": [5, 6], "spans": [[0, 100], [100, 200]]} for i in range(3)]
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    np.arange(Store(folder).total // 960, dtype=np.int16).tofile(folder / "tokens.i16")
    return folder


@pytest.fixture
def data(store: Path, monkeypatch: pytest.MonkeyPatch) -> Aligned:
    monkeypatch.setattr(segments, "FORGOTTEN", 0.0)
    hearing = LinearLatents(MelPosteriorConfig(width=8, layers=1))
    write_latents(store, hearing)
    data = Aligned(store)
    data.remember(hearing.config.latent_channels)
    return data


def test_latents_of_a_store_are_those_of_its_waves(data: Aligned) -> None:
    entry = data.entries[0]
    hearing = LinearLatents(MelPosteriorConfig(width=8, layers=1))
    f0 = data.f0[entry.start // 240 : (entry.start + entry.samples) // 240].astype(np.float32)
    wave = torch.from_numpy(data.store.audio(entry))[None]
    heard = hearing.linear(wave, torch.from_numpy(f0)[None])[0].t().numpy()
    assert data.latents is not None
    kept = data.latents[entry.start // 480 : (entry.start + entry.samples) // 480]
    assert np.abs(heard - kept).max() < 0.02 * np.abs(heard).max()


def test_a_reference_is_another_clip_or_apart_from_the_segment(data: Aligned) -> None:
    first, _, alone = data.entries
    for number in range(20):
        rng = np.random.default_rng(number)
        tokens, latents = data.memory(first, 10, 20, rng)
        own = range(first.start // 960, (first.start + first.samples) // 960)
        assert len(tokens) and not set(tokens.tolist()) & set(own)
        assert len(latents) == 2 * len(tokens)
        tokens, _ = data.memory(alone, 30, 20, rng)
        at = alone.start // 960 + 30
        near = range(at - segments.APART, at + 20 + segments.APART)
        assert len(tokens) and not set(tokens.tolist()) & set(near)
        assert min(tokens) >= alone.start // 960


def test_batches_hold_the_reference_and_its_length(data: Aligned) -> None:
    batch = data.aligned(Size(), np.random.default_rng(1))
    memory = memory_of(batch)
    assert memory is not None and memory.lengths is not None
    most = segments.MEMORY_TOKENS[1]
    assert memory.tokens.shape == (3, most) and memory.frames == 2 * most
    for row in range(3):
        count = int(memory.lengths[row])
        assert count > 0 and not memory.latents[row, :, 2 * count :].any()


def test_people_are_drawn_speaker_by_speaker(data: Aligned) -> None:
    rng = np.random.default_rng(0)
    few, many = data.entries[0], [replace(data.entries[1], speaker="many")] * 9
    data.people = [[few], many]
    drawn = [data._drawn(1.0, rng) for _ in range(200)]
    assert 70 < drawn.count(few) < 130
    data.entries = [few]
    assert {data._drawn(0.0, rng) for _ in range(20)} == {few}


def test_favourites_are_drawn_for_their_share(data: Aligned) -> None:
    few = {entry.name for entry in data.entries if entry.speaker.endswith("/b")}
    data.favour([next(e.speaker for e in data.entries if e.name in few)], 0.8)
    rng = np.random.default_rng(0)
    drawn = [data._drawn(0.0, rng).name in few for _ in range(300)]
    assert 0.8 < np.mean(drawn) < 0.94  # and a third of the rest
    with pytest.raises(ValueError, match="no clip of nobody"):
        data.favour(["nobody"], 0.5)


def test_sometimes_there_is_nothing_to_remember(
    data: Aligned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "FORGOTTEN", 1.0)
    tokens, latents = data.memory(data.entries[0], 0, 20, np.random.default_rng(0))
    assert len(tokens) == len(latents) == 0
