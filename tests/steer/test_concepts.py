"""Concepts: directions are found where they were planted, add up, and refuse what tells nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import with_memory
from voxray import audio, tts
from voxray.bundle import Bundle
from voxray.steer.concepts import Direction, held_out_auroc, learn, learn_from
from voxray.voice import Voice


def items(shift: float, count: int = 6, seed: int = 0) -> list[dict[str, np.ndarray]]:
    dice = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        noisy = dice.standard_normal(8)
        made.append({"gpt.blocks.0.resid": dice.standard_normal(8), "gpt.blocks.1.resid": noisy})
        noisy[3] += shift
    return made


def clips(folder: Path, hertz: float) -> Path:
    """Four short buzzes of about one pitch."""
    folder.mkdir()
    for number in range(4):
        time = np.arange(24_000) / 24_000
        wave = sum(np.sin(2 * np.pi * k * (hertz + 5 * number) * time) / k for k in range(1, 9))
        audio.write_audio(folder / f"{number}.wav", (0.2 * wave).astype(np.float32), 24_000)
    return folder


@pytest.mark.parametrize("method", ["mean", "pca"])
def test_the_winning_place_is_where_the_quality_was_planted(method: str) -> None:
    found = learn_from("joy", items(8.0), items(0.0, seed=1), method=method)
    assert found.site == "gpt.blocks.1.resid"
    assert int(np.abs(found.vector).argmax()) == 3
    assert found.vector[3] == pytest.approx(8.0, abs=2.0)
    assert dict(found.places)["gpt.blocks.1.resid"] == 1.0


def test_items_without_a_quality_score_by_chance() -> None:
    one = np.random.default_rng(0).standard_normal((40, 8))
    other = np.random.default_rng(1).standard_normal((40, 8))
    assert 0.2 < held_out_auroc(one, other, "mean") < 0.8


def test_algebra() -> None:
    joy = Direction("joy", "speaker", (1.0, 0.0))
    calm = Direction("calm", "speaker", (0.0, 2.0))
    assert (joy + 0.5 * calm).vector == (1.0, 1.0)
    assert (joy - calm).vector == (1.0, -2.0)
    assert np.linalg.norm(calm.random_twin().vector) == pytest.approx(2.0)
    assert joy.edit(3.0).amount == 3.0
    with pytest.raises(ValueError, match="one place"):
        joy + Direction("x", "gpt.blocks.0.resid", (1.0, 0.0))


def test_learnt_from_clips(tiny: Bundle, tmp_path: Path) -> None:
    these, those = clips(tmp_path / "high", 220.0), clips(tmp_path / "low", 110.0)
    found = learn("high", these, those, models=tiny)
    assert found.site in {"speaker", "generator.prior.mean", "generator.prior.content",
                          "generator.decoder.latents"}  # fmt: skip
    assert found.model == "tiny"
    found.edit().check(tiny)


def test_what_tells_nothing_is_refused(tiny: Bundle, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="holds no clips"):
        learn("x", empty, empty, models=tiny)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        learn("x", tmp_path / "none", empty, models=tiny)
    with pytest.raises(ValueError, match="4 items a side"):
        learn_from("x", items(1.0, count=2), items(0.0))
    with pytest.raises(ValueError, match="mean or pca"):
        learn("x", [], [], models=tiny, method="magic")
    with pytest.raises(ValueError, match="did you mean"):
        learn("x", [], [], models=tiny, site="gpt.blocks.0.residd")


def test_a_moved_speaker_vector_says_what_stays(remembering: Bundle, voice: Voice) -> None:
    """The memory of the reference is not moved, and the warning says so; other voices get none."""
    width = len(voice.speaker)
    edit = Direction("deep", "speaker", tuple([1.0] * width)).edit(2.0)
    held = with_memory(voice)
    made = tts("Hello there.", held, model=remembering, seed=1, edits=edit, max_tokens=20)
    assert any("'deep' moves the speaker vector alone" in said for said in made.warnings)
    plain = tts("Hello there.", voice, model=remembering, seed=1, edits=edit, max_tokens=20)
    assert not any("moves the speaker vector" in said for said in plain.warnings)
