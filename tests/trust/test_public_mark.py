"""The public mark: off by default, a clear refusal where it is lacking, beside ours where it is there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import say, speech

from voxray.bundle import Bundle
from voxray.commands import main
from voxray.engine import save, tts
from voxray.trust import Refused, identity, policy, records
from voxray.trust.policy import Policy
from voxray.trust.verify import examine
from voxray.trust.watermark import public
from voxray.trust.watermark.detect import detect
from voxray.voice import Voice

pytestmark = pytest.mark.usefixtures("records_folder")
OFFSET = 2e-3


class StandIn:
    """Marks by a small constant, and gives back a few samples more, as resampling does."""

    def apply_watermark(self, wave: np.ndarray, sample_rate: int) -> np.ndarray:
        return np.pad(wave + OFFSET, (0, 3))

    def get_watermark(self, wave: np.ndarray, sample_rate: int, round: bool) -> np.ndarray:
        return np.float32(min(1.0, abs(float(wave.mean())) / OFFSET))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public, "installed", lambda: True)
    monkeypatch.setattr(public, "_perth", StandIn)


def test_off_by_default(
    tiny: Bundle, voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public, "installed", lambda: False)
    monkeypatch.setattr(public, "_perth", lambda: pytest.fail("nobody asked for it"))
    assert Policy().public_mark == "off"
    save(say(tiny, voice), tmp_path / "a.wav")
    assert examine(tmp_path / "a.wav").report()["public_mark"] is None


def test_lacking_it_nothing_is_said(
    tiny: Bundle, voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(public, "installed", lambda: False)
    assert main(["trust", "policy", "--public-mark", "perth"]) == 0
    assert policy.load().public_mark == "perth"
    with pytest.raises(Refused, match="voxray\\[public-mark\\]") as caught:
        say(tiny, voice)
    assert caught.value.code == "mark-unavailable" and not records.latest(1)
    capsys.readouterr()
    assert main(["say", "Hello.", "-o", str(tmp_path / "a.wav")]) == 2
    assert capsys.readouterr().err.count("[mark-unavailable]") == 1
    assert not (tmp_path / "a.wav").exists()
    assert main(["trust", "policy", "--public-mark", "other"]) == 2


def test_there_but_broken_nothing_is_said(
    tiny: Bundle, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public, "installed", lambda: True)
    monkeypatch.setitem(__import__("sys").modules, "perth", SimpleNamespace(
        PerthImplicitWatermarker=None))  # fmt: skip
    public._perth.cache_clear()
    policy.save(Policy(public_mark="perth"))
    with pytest.raises(Refused, match="without its network") as caught:
        say(tiny, voice)
    assert caught.value.code == "mark-unavailable" and not records.latest(1)


@pytest.mark.usefixtures("stand_in")
def test_both_marks_whole_and_streamed(tiny: Bundle, voice: Voice, tmp_path: Path) -> None:
    with records.numbered(5):
        plain = say(tiny, voice).audio
    policy.save(Policy(public_mark="perth"))
    with records.numbered(6):
        made = say(tiny, voice)
    assert len(made.audio) == len(plain)
    assert made.audio.mean() - plain.mean() == pytest.approx(OFFSET, rel=0.2)
    save(made, tmp_path / "m.wav")
    found = examine(tmp_path / "m.wav")
    assert found.public_mark and "public-mark" in [line.code for line in found.likely]
    text = "Hello there. Good bye."
    with records.numbered(7):
        stream = tts.stream(text, voice, model=tiny, seed=1)
        chunks = list(stream)
    assert len(chunks) == 1 and stream.synthesis.record == "r-00000007"
    assert chunks[0].mean() == pytest.approx(OFFSET, rel=0.5)
    policy.save(Policy(public_mark="perth", watermark=False))
    assert public.likeness(say(tiny, voice).audio, 24_000) > public.LIKELY


@pytest.mark.usefixtures("stand_in")
def test_revoking_ends_a_stream_that_is_held_back(tiny: Bundle, voice: Voice) -> None:
    from voxray.trust import consent

    policy.save(Policy(public_mark="perth"))
    given = consent.give(voice, "speaker-1")
    stream = tts.stream("One. Two. Three.", voice, model=tiny, seed=1)
    consent.revoke(given.id)
    with pytest.raises(Refused) as caught:
        list(stream)
    assert caught.value.code == "consent-revoked"


def test_the_package_itself() -> None:
    """Where it is installed: it finds its own mark, and ours is read beside it."""
    pytest.importorskip("perth")
    pytest.importorskip("librosa")
    public._perth.cache_clear()
    from voxray.trust.watermark.embed import embed
    from voxray.trust.watermark.pattern import pattern

    wave = speech(6.0)
    marked = public.mark(wave, 24_000)
    assert len(marked) == len(wave)
    assert public.likeness(marked, 24_000) > public.LIKELY > public.likeness(wave, 24_000)
    key = identity.mark_key()
    both = embed(marked, 24_000, pattern(key).carrying(77))
    assert public.likeness(both, 24_000) > public.LIKELY
    assert detect(both, 24_000, key).low == 77
