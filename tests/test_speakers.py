"""The pretrained speaker encoder as a teacher: vectors of a store, their means, foreign files refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from voxray.audio import resample
from voxray.models.posterior_mel import pitch_latents
from voxray.train.content import SILENCE
from voxray.train.listening import likeness_loss
from voxray.train.polish import PolishTraining, who_knows
from voxray.train.prior import teaching_loss, withheld
from voxray.train.run import Schedule
from voxray.train.speakers import SpeakerTeacher, embed_speakers, speaker_targets
from voxray.train.store import Entry, Store, write_index


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two voices, two clips of 2 s each: tones of one pitch per voice."""
    rate, pieces, entries = 24_000, [], []
    for i, hertz in enumerate((120.0, 120.0, 900.0, 900.0)):
        wave = 0.1 * np.sin(2 * np.pi * hertz * np.arange(2 * rate) / rate)
        pieces.append((wave * 32767).astype("<i2"))
        entries.append(
            Entry(f"c{i}", f"s{i // 2}", "en", "x", "train", 8000, False, i * 2 * rate, 2 * rate)
        )
    write_index(tmp_path, entries)
    np.concatenate(pieces).tofile(tmp_path / "wave.i16")
    return Store(tmp_path)


def weights(path: Path) -> Path:
    torch.manual_seed(0)
    torch.save(
        {"model_state": {**SpeakerTeacher().state_dict(), "similarity_weight": torch.ones(1)}}, path
    )
    return path


def test_clips_of_a_voice_share_a_target(store: Store, tmp_path: Path) -> None:
    assert speaker_targets(store) == {}
    embed_speakers(store.folder, weights(tmp_path / "teacher.pt"), Schedule())
    targets = speaker_targets(store)
    assert targets.keys() == {"s0", "s1"}
    assert all(np.linalg.norm(v) == pytest.approx(1.0, abs=1e-5) for v in targets.values())
    rows = np.load(store.folder / "speakers.npy")
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 1e-4


def test_foreign_files_are_refused(store: Store, tmp_path: Path) -> None:
    torch.save({"model_state": {"x": torch.ones(1)}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="not the speaker encoder"):
        embed_speakers(store.folder, tmp_path / "other.pt", Schedule())
    np.save(store.folder / "speakers.npy", np.ones((3, 256)))
    with pytest.raises(ValueError, match="another corpus"):
        speaker_targets(store)


def test_the_loss_is_zero_where_the_student_says_the_same() -> None:
    student = torch.nn.Linear(4, 4)
    torch.nn.init.eye_(student.weight)
    torch.nn.init.zeros_(student.bias)
    vectors = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    assert float(teaching_loss(student, vectors[..., None], 7 * vectors)) == pytest.approx(
        0, abs=1e-6
    )
    assert float(teaching_loss(student, vectors[..., None], -vectors)) == pytest.approx(2, abs=1e-6)


def test_pitch_is_carried_through_gaps_as_numpy_would() -> None:
    rng = np.random.default_rng(0)
    f0 = rng.uniform(60, 400, (5, 40)) * (rng.random((5, 40)) < 0.4)
    f0[0] = 0.0
    found = pitch_latents(torch.from_numpy(f0).float())[..., :2].flatten(1).numpy() / 2.0
    for row, ours in zip(f0, found, strict=True):
        known = np.flatnonzero(row)
        octaves = np.log2(np.maximum(row, 30.0) / 150.0)
        want = np.interp(np.arange(40), known, octaves[known]) if len(known) else np.zeros(40)
        np.testing.assert_allclose(ours, want, atol=1e-5)


def test_text_is_withheld_from_a_share_of_the_rows() -> None:
    ids = torch.arange(1, 6).repeat(400, 1)
    batch = [
        torch.zeros(1),
        torch.zeros(1),
        ids,
        torch.full((400,), 5),
        *[torch.zeros(1)] * 3,
        ids - 1,
    ]
    made = withheld(batch, 0.25, torch.Generator().manual_seed(0))
    gone = made[3] == 1
    assert 0.15 < float(gone.float().mean()) < 0.35
    assert (made[2][gone, 0] == SILENCE).all() and (made[2][gone, 1:] == 0).all()
    assert (made[7][gone] == -1).all()
    assert (made[2][~gone] == ids[~gone]).all() and (made[7][~gone] == ids[~gone] - 1).all()
    assert (batch[2] == ids).all()


def test_likeness_wants_a_teacher_targets_and_long_segments(store: Store, tmp_path: Path) -> None:
    path = weights(tmp_path / "teacher.pt")
    data = SimpleNamespace(taught={"s0": np.ones(256, np.float32)})
    with pytest.raises(ValueError, match="40"):
        who_knows(PolishTraining(likeness=1.0, teacher=str(path)), data)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="speakers.npy"):
        who_knows(PolishTraining(likeness=1.0, segment_tokens=40), data)  # type: ignore[arg-type]
    teacher = who_knows(
        PolishTraining(likeness=1.0, segment_tokens=40, teacher=str(path)),
        data,  # type: ignore[arg-type]
    )
    wave = torch.from_numpy(store.audio(store.entries[0]))[None].requires_grad_()
    target = teacher(
        torch.from_numpy(resample(store.audio(store.entries[0]), 24_000, 16_000))[None]
    )
    loss = likeness_loss(teacher, wave, target.detach())
    assert float(loss) < 0.02  # another resampler, the same sound
    loss.backward()
    assert wave.grad is not None and torch.isfinite(wave.grad).all()
    assert not any(p.requires_grad for p in teacher.parameters())
