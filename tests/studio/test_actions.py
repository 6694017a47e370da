"""Saying, asking, changing, verifying: the page's buttons without a page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxray import steer
from voxray.explain.why import events_of
from voxray.serve.errors import Problem
from voxray.studio import actions
from voxray.studio.actions import Asked, Changes, Studio, finished, speak
from voxray.studio.takes import Take
from voxray.trust import audit, records


def test_what_is_said_is_recorded_and_lies_in_a_file(studio: Studio, take: Take) -> None:
    path = studio.shelf.file(take.id, "wav")
    assert soundfile.info(path).frames == len(take.synthesis.audio)
    assert path.parent == studio.shelf.folder
    item = records.find(int(take.synthesis.record.removeprefix("r-"), 16))
    assert item is not None and item.voice_name == "nova"
    assert take.entropy is not None and len(take.entropy) == len(take.synthesis.tokens)
    assert (take.entropy >= -1e-4).all()
    assert audit.verify().faults == ()


def test_progress_comes_before_the_take(studio: Studio) -> None:
    *shares, last = speak(studio, Asked("Hello there.", "nova", seed=1))
    assert isinstance(last, Take) and shares
    assert all(isinstance(s, float) and 0.0 <= s <= 1.0 for s in shares)


def test_same_seed_same_speech(studio: Studio, take: Take) -> None:
    again = finished(speak(studio, Asked("Hello there.", "nova", seed=1)))
    assert np.array_equal(again.synthesis.tokens, take.synthesis.tokens)
    fresh = finished(speak(studio, Asked("Hello there.", "nova")))
    assert fresh.options.seed == fresh.synthesis.seed


def test_who_stops_listening_leaves_nothing_locked(studio: Studio) -> None:
    steps = speak(studio, Asked("Hello there. And again. And once more.", "nova", seed=1))
    next(steps)
    assert not studio.models.locked()
    steps.close()  # type: ignore[attr-defined]
    finished(speak(studio, Asked("Hello.", "nova", seed=1)))


@pytest.mark.parametrize(
    ("text", "voice", "code"),
    [
        ("  ", "nova", "text-empty"),
        ("a" * 5001, "nova", "text-too-long"),
        ("Hello.", "nobody-known", "voice-unknown"),
        ("Hello.", "../../etc/passwd", "voice-unknown"),
        ("Hello.", "/etc/passwd", "voice-unknown"),
        ("Hello.", "tuned:../..", "voice-unknown"),
    ],
)
def test_what_cannot_be_said(studio: Studio, text: str, voice: str, code: str) -> None:
    with pytest.raises(Problem) as told:
        finished(speak(studio, Asked(text, voice)))
    assert told.value.code == code


def test_changes_are_edits_of_the_same_dice(studio: Studio, take: Take) -> None:
    changes = Changes(emphasis={0: 1.0}, heads={"0.1": 0.5})
    other = finished(speak(studio, Asked("Hello there.", "nova", 1, changes=changes)))
    kinds = [edit["kind"] for edit in other.synthesis.edits]
    assert kinds == ["prosody", "head"]
    prosody = other.synthesis.edits[0]
    assert (prosody["semitones"], prosody["decibels"], prosody["rate"]) == (3.0, 4.0, 0.85)
    assert not np.array_equal(other.synthesis.audio, take.synthesis.audio)
    unchanged = finished(speak(studio, Asked("Hello there.", "nova", 1, changes=Changes())))
    assert not unchanged.synthesis.edits


def test_changes_that_do_not_fit(studio: Studio) -> None:
    for changes in (
        Changes(heads={"9.0": 0.0}),
        Changes(heads={"0.9": 0.0}),
        Changes(heads={"0.0": 99.0}),
        Changes(emphasis={7: 1.0}),
        Changes(attention={0: -1.0}),
        Changes(concepts={"unheard": 1.0}),
    ):
        with pytest.raises(ValueError):
            finished(speak(studio, Asked("Hello there.", "nova", 1, changes=changes)))
    assert not studio.models.locked()


def test_concepts_that_fit_become_sliders(studio: Studio) -> None:
    folder = studio.settings.concepts
    folder.mkdir(parents=True)
    direction = tuple([0.1] * 256)
    concept = steer.Concept(name="calm", site="speaker", direction=direction)
    steer.Edits(edits=(concept,)).save(folder / "calm.json")
    wrong = steer.Concept(name="odd", site="gpt.embed", direction=(1.0, 2.0))
    steer.Edits(edits=(wrong,)).save(folder / "odd.json")
    (folder / "broken.json").write_text("{", encoding="utf-8")
    assert list(studio.concepts()) == ["calm"]
    asked = Asked("Hello.", "nova", 1, changes=Changes(concepts={"calm": 2.0}))
    made = finished(speak(studio, asked)).synthesis
    assert made.edits[0]["amount"] == 2.0


def test_heads_are_those_of_the_model(studio: Studio) -> None:
    assert actions.heads(studio) == ["0.0", "0.1", "1.0", "1.1"]


def test_why_is_answered_by_interventions(studio: Studio, take: Take) -> None:
    speech = actions.spoken_of(studio, take)
    events = [event for passage in speech.passages for event in events_of(speech, passage)]
    if not events:
        pytest.skip("nothing stands out in what the tiny model says")
    made = actions.ask(studio, take.id, word=events[0].word)
    assert made.causes and made.claim.interventions
    assert made.draws == 3


def test_questions_without_an_answer(studio: Studio, take: Take) -> None:
    with pytest.raises(Problem):
        actions.ask(studio, "0" * 32, at=0.1)
    with pytest.raises(ValueError, match="outside the clip"):
        actions.ask(studio, take.id, at=take.synthesis.seconds + 5)
    assert not studio.models.locked()


def test_old_takes_go_with_their_files(studio: Studio, take: Take) -> None:
    path = studio.shelf.file(take.id, "flac")
    for _ in range(studio.settings.most_takes):
        studio.shelf.add(Take(take.synthesis, take.voice, take.options))
    assert not path.exists()
    with pytest.raises(Problem):
        studio.shelf.find(take.id)


@pytest.mark.parametrize("name", ["../x", "", "0" * 31, "0" * 32 + "/../x"])
def test_sounds_are_found_by_id_alone(studio: Studio, take: Take, name: str) -> None:
    for kind in ("wav", "exe", "wav/../.."):
        with pytest.raises(Problem):
            studio.shelf.file(name, kind)
    with pytest.raises(Problem):
        studio.shelf.file(take.id, "json")


def test_verify_reads_a_file_and_refuses_what_is_none(studio: Studio, tmp_path: Path) -> None:
    text = "Hello there, this is said to be found again, a little later, by its mark."
    made = finished(speak(studio, Asked(text, "nova", seed=2)))
    found = actions.verify(studio, studio.shelf.file(made.id, "wav"))
    assert found.proven or found.likely
    broken = tmp_path / "x.wav"
    broken.write_bytes(b"RIFF\xff\xff\xff\xffWAVE")
    for path, code in ((broken, "audio-unreadable"), (None, "bad-request")):
        with pytest.raises(Problem) as told:
            actions.verify(studio, path)
        assert told.value.code == code and str(tmp_path) not in str(told.value)


def test_large_uploads_are_not_read(studio: Studio, tmp_path: Path) -> None:
    small = studio.settings.model_copy(update={"most_upload": 10})
    (tmp_path / "x.wav").write_bytes(b"12345678901")
    with pytest.raises(Problem) as told:
        actions.verify(Studio(small), tmp_path / "x.wav")
    assert told.value.code == "body-too-large"
