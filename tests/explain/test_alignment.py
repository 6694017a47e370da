"""Times read from attention: exact where attention is exact, better than the diagonal, never back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests_explain import opened, with_attention

from voxray.bundle import Bundle
from voxray.explain import alignment
from voxray.explain.alignment import near_path, starts, uniform


def staircase(tokens: int, phonemes: int, sharp: float = 1.0) -> np.ndarray:
    """Attention [S, P] that stays two tokens at the first phoneme, four at the second, and so on."""
    held = np.repeat(np.arange(phonemes), [2 + 2 * (p % 3) for p in range(phonemes)])
    path = np.concatenate([held, np.full(tokens, phonemes - 1)])[:tokens]
    weights = np.full((tokens, phonemes), (1 - sharp) / phonemes)
    weights[np.arange(tokens), path] += sharp
    return weights


def test_starts_are_between_tokens_where_the_mass_is() -> None:
    near = np.array([[1, 0], [0.5, 0.5], [0, 1.0]])
    assert starts(near).tolist() == [0, 1.5]


def test_a_planted_staircase_is_read_exactly(tiny: Bundle) -> None:
    trace = opened(tiny)
    tokens, phonemes = trace.passages[0].attention.shape[2:]
    planted = with_attention(trace, {(1, 0): staircase(tokens, phonemes, 0.9)})
    found = alignment.align(planted, [(1, 0)])
    expected = staircase(tokens, phonemes).argmax(1)
    assert found.path.tolist() == expected.tolist()
    second = found.phonemes[1]
    zero = trace.zero(trace.passages[0].passage)
    assert second.start_s == pytest.approx(max(0, zero + 2 * trace.token_seconds), abs=1e-2)
    flat = uniform(trace)
    wrong = alignment.boundary_errors(flat.words, found.words)
    assert wrong.mean() > 0.02  # the diagonal does not know


def test_words_cover_their_phonemes_in_order(tiny: Bundle) -> None:
    found = alignment.align(opened(tiny))
    assert found.heads == ((0, 0), (1, 1))  # the guided ones
    assert all(a.start_s <= a.end_s for a in found.words)
    begins = [time.start_s for time in found.phonemes]
    assert begins == sorted(begins)
    assert len(found.words) == len(opened(tiny).synthesis.phonemes.words)


def test_near_path_drops_what_is_far() -> None:
    near = near_path(np.array([[0.5, 0.0, 0.5], [0.0, 0.0, 1.0]]), np.array([0, 2]), reach=1)
    np.testing.assert_allclose(near, [[1, 0, 0], [0, 0, 1]], atol=1e-6)


def test_a_recording_is_aligned(tiny: Bundle, recording) -> None:
    from voxray import audio

    wave, rate = audio.read_audio(recording)
    found = alignment.align_recording(tiny, "Good morning", wave, rate)
    assert [word.text for word in found.words] == ["Good", "morning"]
    assert 0 <= found.words[0].start_s <= found.words[1].end_s <= len(wave) / rate + 0.04


def test_what_cannot_be_aligned_is_refused(tiny: Bundle) -> None:
    with pytest.raises(ValueError, match="no heads"):
        alignment.align(opened(tiny), [])
    with pytest.raises(ValueError, match="a token"):
        alignment.align_recording(tiny, "Hi", np.zeros(300, np.float32), 16_000)
    one = alignment.align(opened(tiny)).words
    with pytest.raises(ValueError, match="are known"):
        alignment.boundary_errors(one, one[:1])
    zero = [replace(word, end_s=word.start_s) for word in one]
    assert len(alignment.boundary_errors(one, zero)) == 0  # words of no length say nothing
