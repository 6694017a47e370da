"""`voxray tune` from recordings to a voice, on the tiny system with judges of a toy world."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from conftest import speechlike
from voxray.bundle import Bundle
from voxray.engine import tts
from voxray.evaluate import fewshot
from voxray.train.slices import Slice
from voxray.train.tuning import Tuning
from voxray.train.voice_store import write_store
from voxray.voice import Voice

FEW = Tuning(
    generator_steps=2, gpt_steps=2, batch=2, segment_tokens=12, gpt_batch=2, check_every=2,
    save_every=1, warmup=1,
)  # fmt: skip
TEXTS = ("the boats came home", "nobody knew the way", "she keeps old letters", "we walked along")


class Toy:
    """Everybody sounds alike, and every text is heard as it is wanted."""

    def __init__(self) -> None:
        self.checks = 0
        self.speakers = (self._voice,)
        self._voice.__func__.name = "toy"  # type: ignore[attr-defined]

    def _voice(self, wave: Any) -> Any:
        return np.array([1.0, float(np.abs(wave).mean())], np.float32)

    def recogniser(self, waves: list[Any], language: str) -> list[str]:
        self.checks += 1
        return [TEXTS[0]] * len(waves)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "anna"
    folder.mkdir()
    lines = []
    for n, text in enumerate(TEXTS):
        soundfile.write(folder / f"{n}.wav", np.roll(speechlike(3.2), 5_000 * n), 16_000)
        lines.append(f"{n}.wav\t{text}\n")
    (folder / "zero.wav").write_bytes(b"")
    (tmp_path / "texts.tsv").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.mark.slow
def test_recordings_become_a_model_a_voice_and_a_report(
    tiny: Bundle, recordings: Path, tmp_path: Path
) -> None:
    tiny.save(tmp_path / "base", half=False)
    given: dict[str, Any] = {
        "transcripts": tmp_path / "texts.tsv", "model": tmp_path / "base", "settings": FEW,
    }  # fmt: skip
    out = tmp_path / "out"
    made = fewshot.few_shot(recordings, "anna", out, **given)
    assert len(made.reports) == 4
    assert any("zero.wav" in problem for problem in made.problems)
    assert set(made.rows) == {"generator", "gpt"}
    voice = Voice.load(out / "voice.safetensors")
    assert (voice.model, voice.language) == ("anna", "en")
    assert len(tts("Hello.", voice, model=out, seed=1, max_tokens=15).audio)
    assert "zero.wav" in (out / "report.md").read_text(encoding="utf-8")
    again = fewshot.few_shot(recordings, "anna", out, **given)  # nothing is left to do
    assert again.rows == made.rows
    with pytest.raises(ValueError, match="other recordings or settings"):
        fewshot.few_shot(recordings, "anna", out, **{**given, "minutes": 0.2})


@pytest.mark.slow
def test_judges_decide_and_are_shown(tiny: Bundle, recordings: Path, tmp_path: Path) -> None:
    tiny.save(tmp_path / "base", half=False)
    toy = Toy()
    judges: Any = toy
    texts = dict(zip("0123", TEXTS, strict=True))
    said = iter(range(100))

    def first_hearing(waves: list[Any], language: str) -> list[str]:
        number = next(said)
        if number < 4:  # the four recordings, one file at a time
            return [texts[str(number)]]
        return Toy.recogniser(toy, waves, language)

    judges.recogniser = first_hearing
    made = fewshot.few_shot(
        recordings, "anna", tmp_path / "out", transcripts=tmp_path / "texts.tsv",
        model=tmp_path / "base", settings=FEW, only="gpt", judges=judges,
    )  # fmt: skip
    assert made.before is not None
    assert made.after is not None
    assert toy.checks == 4  # before, at step 0, at step 2, after
    assert "| before (zero-shot) |" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert {p.name for p in (tmp_path / "out" / "samples").iterdir()} == {
        f"{n}-{when}.flac" for n in (1, 2, 3) for when in ("before", "after")
    }
    kept = json.loads((tmp_path / "out" / "work" / "before.json").read_text(encoding="utf-8"))
    assert kept["texts"] == fewshot.LISTENED  # one held out, the others are sentences of our own


@pytest.mark.slow
def test_what_a_recogniser_babbles_makes_a_text_wrong_and_no_more(
    tiny: Bundle, tmp_path: Path
) -> None:
    waves = [np.roll(speechlike(3.0), 4_000 * n).astype(np.float32) for n in range(3)]
    pieces = [Slice(f"c{n}", Path("x.wav"), 0.0, w, 16_000, TEXTS[n]) for n, w in enumerate(waves)]
    store = write_store(tmp_path / "store", tiny, pieces[:2], pieces[2:])
    judges: Any = Toy()
    judges.recogniser = lambda heard, language: ["no " * 80] * len(heard)
    assert fewshot.Listener(judges, store)(tiny).error == 1.0
