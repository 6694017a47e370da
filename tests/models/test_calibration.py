"""A voice's difference from what is said of it: found where it was planted, and nothing where there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from conftest import with_memory
from voxray.bundle import Bundle
from voxray.models.calibration import corrected, fitted, halves, inputs, neutral
from voxray.models.memory import Memory
from voxray.voice import Voice

LATENTS, CODES = 96, 24


def frames(count: int, seed: int = 0, rows: int = 1) -> tuple[Tensor, Tensor]:
    """Latents [rows, Z, count], about half of the frames voiced, and code vectors [rows, C, count]."""
    dice = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, LATENTS, count, generator=dice)
    z[:, 2:4] = torch.where(z[:, 4:5] > 0, 1.0, -1.0)
    return z, torch.randn(rows, CODES, count, generator=dice)


def everything(z: Tensor) -> Tensor:
    return torch.ones(len(z), z.shape[2], dtype=torch.bool)


def test_nothing_known_changes_nothing() -> None:
    z, codes = frames(20)
    unknown = neutral(1, LATENTS, CODES)
    assert unknown.shape[2] == inputs(z, codes).shape[1] + 2
    assert torch.equal(corrected(z, codes, unknown), z)
    assert torch.equal(corrected(z, codes, None), z)


def test_a_voice_as_predicted_is_left_alone() -> None:
    z, codes = frames(400)
    found = fitted(z, z, codes, everything(z))
    assert torch.allclose(corrected(z, codes, found), z, atol=1e-3)


@pytest.mark.parametrize("height", [-0.8, 0.6])
def test_a_planted_difference_is_found_on_frames_never_seen(height: float) -> None:
    """Height, level and spread of another voice, and what depends on the sound."""
    z, codes = frames(6000, rows=2)  # far more than the belief that nothing differs
    bent = torch.randn(LATENTS, CODES, generator=torch.Generator().manual_seed(5)) * 0.3

    def other(z: Tensor, codes: Tensor) -> Tensor:
        moved = 1.4 * z + 0.5 + bent @ codes
        moved[:, :4] = z[:, :4]
        moved[:, :2] += height
        return moved

    found = fitted(z, other(z, codes), codes, everything(z))
    fresh, said = frames(500, seed=9, rows=2)
    wanted = other(fresh, said)
    made = corrected(fresh, said, found)
    assert (made - wanted).square().mean() < 0.4 * (fresh - wanted).square().mean()
    assert torch.allclose(made[:, :2], wanted[:, :2], atol=0.1)
    assert torch.equal(made[:, 2:4], fresh[:, 2:4])


def test_frames_that_do_not_count_are_not_looked_at() -> None:
    z, codes = frames(300, rows=2)
    true = 1.3 * z + 0.2
    known = torch.arange(300)[None] < torch.tensor([300, 120])[:, None]
    found = fitted(z, true, codes, known)
    hidden = torch.where(known[:, None], true, torch.full_like(true, 77.0))
    assert torch.allclose(fitted(z, hidden, codes, known), found, atol=1e-5)
    alone = fitted(z[1:, :, :120], true[1:, :, :120], codes[1:, :, :120], known[1:, :120])
    assert torch.allclose(found[1:], alone, atol=1e-4)


def test_little_is_believed_of_a_few_frames_and_nothing_of_none() -> None:
    z, codes = frames(40)
    true = z + 1.0
    shifts = []
    for count in (0, 10, 40):
        known = torch.arange(40)[None] < count
        made = corrected(z, codes, fitted(z, true, codes, known))
        shifts.append(float((made - z)[:, 4:].mean()))
    assert shifts[0] == pytest.approx(0.0, abs=1e-5)
    assert 0.0 < shifts[1] < shifts[2] < 1.0


def test_a_chunk_is_corrected_as_the_whole() -> None:
    z, codes = frames(60)
    correction = fitted(
        *frames(200, 1)[:1], frames(200, 2)[0], frames(200, 1)[1], everything(frames(200)[0])
    )
    whole = corrected(z, codes, correction)
    part = corrected(z[..., 20:40], codes[..., 20:40], correction)
    assert torch.allclose(part, whole[..., 20:40], atol=1e-5)


def test_halves_hold_all_that_counts_and_swap() -> None:
    tokens = torch.arange(22).reshape(2, 11)
    latents = torch.stack([2 * tokens, 2 * tokens + 1], dim=2).flatten(1)[:, None].float()
    cut, other = halves(Memory(tokens, latents, torch.tensor([11, 4])))
    assert cut.lengths is not None and other.lengths is not None
    assert cut.lengths.tolist() == [5, 2, 6, 2] and other.lengths.tolist() == [6, 2, 5, 2]
    kept = [row[:count].tolist() for row, count in zip(cut.tokens, cut.lengths, strict=True)]
    assert kept == [list(range(5)), [11, 12], list(range(5, 11)), [13, 14]]
    assert torch.equal(other.tokens[:2], cut.tokens[2:])
    assert cut.latents[2, 0, :4].tolist() == [10.0, 11.0, 12.0, 13.0]


def test_a_generator_calibrates_a_memory_row_by_row(remembering: Bundle, voice: Voice) -> None:
    """Rows of a batch find what they find alone; an empty memory and one token are no error."""
    generator = remembering.generator
    rows = [with_memory(voice, seed, 60).memory for seed in (1, 2)]
    assert rows[0] is not None and rows[1] is not None
    both = Memory(
        torch.cat([m.tokens for m in rows if m]), torch.cat([m.latents for m in rows if m])
    )
    speaker = torch.stack([voice.speaker, voice.speaker])
    silence = remembering.silent_text[0]
    found = generator.calibrated(both, speaker, silence).correction
    assert found is not None and found.isfinite().all()
    for row, memory in enumerate(rows):
        alone = generator.calibrated(memory, speaker[:1], silence).correction
        assert alone is not None
        assert torch.allclose(found[row], alone[0], atol=1e-2)
    for count in (0, 1):
        short = Memory(both.tokens[:, :count], both.latents[..., : 2 * count])
        made = generator.calibrated(short, speaker, silence).correction
        assert made is None if count == 0 else made is not None and made.isfinite().all()


def test_what_is_heard_of_a_recording_is_calibrated(
    remembering: Bundle, recording: object, tmp_path: object
) -> None:
    made = Voice.from_file(str(recording), model=remembering)
    assert made.memory_correction is not None and made.memory_correction.dtype == torch.float16
    assert made.memory is not None and made.memory.correction is not None
    wrong = replace(made, memory_correction=made.memory_correction[:, :-1])
    with pytest.raises(ValueError, match="another model"):
        from voxray.fitting import fitting

        fitting(remembering, wrong)
