"""The mark: chunks equal the whole, the code corrects, the reader reads, other keys see nothing."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import speech
from hypothesis import given
from hypothesis import strategies as st

from voxray import audio
from voxray.trust.watermark import code
from voxray.trust.watermark.detect import (
    AS_MADE,
    AT_ANY_SPEED,
    FALSE_ALARM,
    chance_of,
    detect,
    find,
    listen,
)
from voxray.trust.watermark.embed import Embedder, embed
from voxray.trust.watermark.grid import BANDS, CELLS, SLOTS, hop_of
from voxray.trust.watermark.pattern import pattern

pytestmark = pytest.mark.usefixtures("records_folder")

KEY, OTHER = b"k" * 32, b"o" * 32
NUMBER = 0xC0FFEE42


@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
def test_chunks_equal_the_whole(rate: int) -> None:
    wave = speech(1.5, rate)
    signs = pattern(KEY).carrying(NUMBER)
    whole = embed(wave, rate, signs)
    embedder, parts, at = Embedder(signs, rate), [], 0
    for size in (1, 100, hop_of(rate), 5000, 3, len(wave)):
        parts.append(embedder(wave[at : at + size]))
        at += size
    parts.append(embedder.finish())
    assert np.array_equal(np.concatenate(parts), whole) and len(whole) == len(wave)
    assert not np.array_equal(whole, wave)


@given(st.integers(0, 2000))
def test_every_length_is_kept(count: int) -> None:
    wave = np.ones(count, np.float32)
    assert len(embed(wave, 24_000, pattern(KEY).carrying(1))) == count


def test_silence_stays_silent_and_high_bands_untouched() -> None:
    signs = pattern(KEY).carrying(NUMBER)
    assert not embed(np.zeros(9000, np.float32), 24_000, signs).any()
    noise = np.random.default_rng(0).standard_normal(48_000).astype(np.float32)
    change = np.abs(np.fft.rfft(embed(noise, 48_000, signs) - noise))
    hertz = np.fft.rfftfreq(48_000, 1 / 48_000)
    assert change[hertz > 7600].max() < 0.01 * change[hertz < 7500].max()


def test_wrong_rates_and_numbers() -> None:
    with pytest.raises(ValueError, match="8000"):
        embed(np.zeros(10, np.float32), 8_000, pattern(KEY).carrying(1))
    with pytest.raises(ValueError, match="32 bits"):
        pattern(KEY).carrying(1 << 32)
    with pytest.raises(ValueError, match="empty"):
        pattern(b"")


@given(st.integers(0, 65_535))
def test_the_code_comes_back(word: int) -> None:
    assert code.decode(code.encode(word).astype(np.float32)).word == word


def test_the_code_keeps_its_distance() -> None:
    """Linear: the least weight of any word is the least distance of any two."""
    scores = code._cosets() @ code._linear().T  # against every coset's 128 linear words
    scores[0, 0] = 0  # the word of zeros itself
    assert np.abs(scores).max() <= 128 - 2 * 48
    words = [code.encode(word) for word in (0, 1, 1 << 7, 1 << 13, 1 << 14, 1 << 15, 65_535)]
    assert all((a != b).sum() >= 48 for a in words for b in words if a is not b)


def test_the_code_corrects() -> None:
    generator = np.random.default_rng(1)
    words = generator.integers(0, 65_536, 40)
    sent = np.stack([code.encode(int(word)) for word in words]).astype(np.float32)
    heard = sent + 1.2 * generator.standard_normal(sent.shape)  # a fifth of the chips are wrong
    assert [code.decode(soft).word for soft in heard] == list(words)


def test_patterns_look_random() -> None:
    first, second = pattern(KEY), pattern(OTHER)
    assert abs(first.signs.mean()) < 0.15
    assert abs((first.signs * second.signs).mean()) < 0.15
    cells = np.concatenate([first.presence, first.low.ravel(), first.high.ravel()])
    assert sorted(cells) == list(range(CELLS)) and first.carrying(3).shape == (SLOTS, BANDS)


def test_it_leads_to_the_number() -> None:
    wave = speech()
    marked = embed(wave, 24_000, pattern(KEY).carrying(NUMBER))
    found = detect(marked, 24_000, KEY)
    assert found.present and found.number == NUMBER and found.chance < FALSE_ALARM
    heard = listen(marked, 24_000, (1.0,))
    assert not find(heard, OTHER).present
    assert not find(listen(wave, 24_000, (1.0,)), KEY).present


def test_cropped_softer_and_faster() -> None:
    marked = embed(speech(7.0), 24_000, pattern(KEY).carrying(NUMBER))
    cut = 0.5 * marked[12_345:]
    assert detect(cut, 24_000, KEY).low == NUMBER & 0xFFFF
    faster = audio.resample(cut, 24_000, round(24_000 / 1.05))
    found = find(listen(faster, 24_000, (1.0, 1.05)), KEY)
    assert found.present and found.low == NUMBER & 0xFFFF
    assert found.speed == pytest.approx(1.05, abs=0.006)


def test_too_short() -> None:
    with pytest.raises(ValueError, match="too short"):
        detect(np.zeros(1000, np.float32), 24_000, KEY)


def test_the_bound_holds_for_random_signs() -> None:
    """Whatever the beliefs: the score under independent signs stays below the bound."""
    generator = np.random.default_rng(2)
    beliefs = generator.standard_normal(582).astype(np.float32) ** 3  # far from Gaussian
    signs = generator.integers(0, 2, (20_000, 582), dtype=np.int8).astype(np.float32) * 2 - 1
    found = signs @ beliefs / np.sqrt((beliefs**2).sum())
    for limit in (1.0, 2.0, 3.0):
        assert (found >= limit).mean() <= chance_of(limit, 1)
    assert chance_of(0.0, 1) == 1.0 and chance_of(6.6, 819) < FALSE_ALARM


def test_what_a_call_may_spend() -> None:
    """Half on the speed as made, half on the rest; two looks of a long sound share that half."""
    shifts = 126
    assert (2 * shifts, 2 * 13 * shifts) == (AS_MADE, AT_ANY_SPEED)
    spent = chance_of(6.08, shifts), chance_of(6.48, 13 * shifts)
    assert sum(spent) <= FALSE_ALARM <= 1e-6 / 2
    assert chance_of(6.06, AS_MADE) > FALSE_ALARM and chance_of(6.46, AT_ANY_SPEED) > FALSE_ALARM


def test_beliefs_come_every_8_ms() -> None:
    """A sound that begins one step later is believed the same, one step on."""
    from voxray.trust.watermark.reader import HOP, beliefs

    wave = speech(1.5, 16_000)
    whole, later = beliefs(wave), beliefs(wave[HOP:])
    size = len(later) - 40
    assert np.abs(whole[21 : 21 + size] - later[20 : 20 + size]).max() < 0.05


def test_the_reader_never_sees_a_key() -> None:
    import inspect

    from voxray.trust.watermark import reader

    assert "pattern" not in inspect.getsource(reader).replace("random pattern", "")
