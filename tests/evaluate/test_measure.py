"""`voxray measure`: lists, other systems, resuming, controls, tables. Made-up judges, real files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from voxray.evaluate import adapter, gallery, measure, named
from voxray.evaluate.controls import broken, controls, shuffled
from voxray.evaluate.lists import Item, read_items, write_items
from voxray.evaluate.measure import Ears, Folder, Made
from voxray.evaluate.melody import melody_correlation, warp

TEXTS = ("the boats came home", "nobody knew the way back", "今天的天气很好我们出去走走")


class Listener:
    """Judges of a toy world: the level of a wave names the text, its sign the speaker."""

    def __init__(self) -> None:
        self.asked = 0
        self.speakers = (self._voice,)
        self._voice.__func__.name = "sign"  # type: ignore[attr-defined]

    def recogniser(self, waves: list[Any], language: str) -> list[str]:
        self.asked += len(waves)
        return [self._said(wave) for wave in waves]

    @staticmethod
    def _said(wave: Any) -> str:
        level = float(np.median(np.abs(wave)))
        if level < 0.05 or np.abs(wave).std() > 0.2:
            return ""
        return TEXTS[round(10 * level) - 1]

    def _voice(self, wave: Any) -> Any:
        return np.array([1.0, np.sign(np.median(wave))], np.float32)

    def naturalness(self, wave: Any) -> float:
        return 1.0 + float(np.abs(wave).mean())


def tone(path: Path, number: int, sign: float = 1.0) -> Path:
    soundfile.write(path, np.full(16_000, sign * 0.1 * number, np.float32), 16_000)
    return path


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    made = []
    for number, text in enumerate(TEXTS, start=1):
        prompt = tone(tmp_path / f"prompt{number}.wav", 1, 1.0 if number % 2 else -1.0)
        truth = tone(tmp_path / f"truth{number}.wav", number, 1.0 if number % 2 else -1.0)
        made.append(Item(f"t{number}", "what the prompt says", prompt, text, truth))
    return made


def faithful(item: Item, seed: int, out: Path) -> Made:
    wave, rate = soundfile.read(item.truth)
    soundfile.write(out, wave, rate)
    return Made(item.id, seed, len(wave) / rate, 0.1, 0.05, 100.0)


def judged(items: list[Item], root: Path, system: Any) -> tuple[Folder, Listener]:
    folder, ears = Folder(root, "toy"), Listener()
    measure.speak_all(items, 1, system, folder)
    judges: Any = ears
    measure.judge_all(items, folder, judges)
    return folder, ears


def test_a_list_comes_back_as_it_was_written(items: list[Item], tmp_path: Path) -> None:
    write_items(tmp_path / "set.lst", items)
    assert read_items(tmp_path / "set.lst") == items
    assert [item.language for item in items] == ["en", "en", "zh"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a|b|c", "3 fields"),
        ("a b|x|prompt1.wav|text", "the id 'a b'"),
        ("a|x|nowhere.wav|text", "no such recording"),
        ("a|x|prompt1.wav|", "nothing to say"),
        ("a|x|prompt1.wav|t\na|x|prompt1.wav|t", "stands there twice"),
    ],
)
def test_a_bad_line_is_named(items: list[Item], tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "bad.lst").write_text(line, encoding="utf-8")
    with pytest.raises((ValueError, OSError), match=said):
        read_items(tmp_path / "bad.lst")


def test_speaking_and_judging_go_on_where_they_stopped(items: list[Item], tmp_path: Path) -> None:
    spoken: list[str] = []

    def dying(item: Item, seed: int, out: Path) -> Made:
        if item.id == "t2" and "t2" not in spoken:
            spoken.append("t2")
            raise KeyboardInterrupt
        spoken.append(item.id)
        return faithful(item, seed, out)

    with pytest.raises(KeyboardInterrupt):
        judged(items, tmp_path, dying)
    folder, ears = judged(items, tmp_path, dying)
    assert spoken == ["t1", "t2", "t2", "t3"]
    assert ears.asked == 3
    with (folder.path / "scores.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"id": "t1", "se')  # a kill in the middle of a row
    folder, ears = judged(items, tmp_path, dying)
    assert ears.asked == 0
    assert [s.errors for s in folder.judged().values()] == [0, 0, 0]


def test_a_failure_counts_as_every_word_lost(items: list[Item], tmp_path: Path) -> None:
    def refusing(item: Item, seed: int, out: Path) -> Made:
        if item.id == "t1":
            raise ValueError("no voice in it")
        return faithful(item, seed, out)

    folder, _ = judged(items, tmp_path, refusing)
    figures = measure.figures(list(folder.judged().values()), list(folder.made().values()))
    words = [4, 5, 13]
    assert figures["error %"].value == pytest.approx(100 * words[0] / sum(words))
    assert figures["failed %"].value == pytest.approx(100 / 3)
    assert figures["RTF"].value == pytest.approx(0.1)
    assert figures["error %"].low <= figures["error %"].value <= figures["error %"].high


def test_controls_come_out_in_order_and_a_deaf_judge_is_found(items: list[Item]) -> None:
    judges: Any = Listener()
    rows = {
        name: list(measure.judge_clips(clips, Ears(judges)))
        for name, clips in controls(items).items()
    }
    table = {name: measure.figures(scores, []) for name, scores in rows.items()}
    assert table["real"]["error %"].value == 0
    assert table["silence"]["error %"].value == 100
    assert table["wrong speaker"]["similarity sign"].value < table["real"]["similarity sign"].value
    faults = broken(table)
    assert [f for f in faults if "shuffled" not in f] == []  # a constant cannot be shuffled
    assert any("shuffled" in fault for fault in faults)
    deaf = dict.fromkeys(table, table["real"])
    assert len(broken(deaf)) >= 4


def test_shuffling_moves_pieces_and_loses_none() -> None:
    wave = np.arange(16_000, dtype=np.float32)
    moved = shuffled(wave, np.random.default_rng(0))
    assert not np.array_equal(moved, wave)
    assert np.array_equal(np.sort(moved), wave)


def test_another_system_is_a_command(items: list[Item], tmp_path: Path) -> None:
    program = tmp_path / "other.py"
    program.write_text(
        'import shutil, sys\nassert sys.argv[1] == "it\'s; a text", sys.argv\n'
        "shutil.copy(sys.argv[2], sys.argv[3])\n",
        encoding="utf-8",
    )
    system = measure.command_system(f"{sys.executable} {program} {{text}} {{prompt}} {{out}}")
    quoted = Item("q", "", items[0].prompt, "it's; a text")
    made = system(quoted, 0, tmp_path / "q.0.flac")
    assert made.seconds == pytest.approx(1.0)
    assert made.compute_s > 0
    assert (tmp_path / "q.0.flac").is_file()
    with pytest.raises(OSError, match=r"ended with 1: AssertionError"):
        system(items[0], 0, tmp_path / "x.flac")


@pytest.mark.parametrize(
    ("template", "said"),
    [("say {text}", "must hold {out}"), ("say {txt} {out}", "txt"), ("say '{text} {out}", "read")],
)
def test_a_template_that_cannot_work_is_refused(template: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        adapter.CommandSystem(template)


def test_the_page_holds_players_and_escapes_texts(items: list[Item], tmp_path: Path) -> None:
    folder, _ = judged(items, tmp_path, faithful)
    scores = list(folder.judged().values())
    table = {"toy": measure.figures(scores, list(folder.made().values()))}
    page = gallery.Page("<b>", {"set": "toy"}, items, table, {"toy": scores})
    gallery.write(page, tmp_path)
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert html.count("<audio") == 9
    assert 'src="systems/toy/audio/t1.0.flac"' in html
    assert "<h1>&lt;b&gt;</h1>" in html
    rows = (tmp_path / "clips.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 4
    assert "| toy | 3 | 0.0 " in (tmp_path / "table.md").read_text(encoding="utf-8")


def test_melody_follows_pitch_not_time() -> None:
    def sung(seconds: float, turn: float) -> Any:
        time = np.arange(round(16_000 * seconds)) / 16_000
        pitch = 150 * 2 ** (0.4 * turn * np.sin(2 * np.pi * 1.5 * time / seconds))
        phase = 2 * np.pi * np.cumsum(pitch) / 16_000
        tilt = 1.5 + np.sin(2 * np.pi * 4 * time / seconds)  # vowels come and go
        harmonics = sum(np.sin(k * phase) / k**tilt for k in range(1, 12))
        loud = 0.3 + 0.2 * np.sin(2 * np.pi * 3 * time / seconds)
        return (loud * harmonics).astype(np.float32)

    slow = melody_correlation(sung(1.0, 1.0), sung(1.3, 1.0))
    assert slow > 0.8
    assert melody_correlation(sung(1.0, -1.0), sung(1.3, 1.0)) < slow - 0.5
    assert np.isnan(melody_correlation(np.zeros(16_000, np.float32), sung(1.0, 1.0)))


def test_warping_finds_the_copy_of_a_stretched_sequence() -> None:
    dice = np.random.default_rng(0)
    one = dice.standard_normal((6, 3))
    rows, columns = warp(one, one.repeat(2, axis=0))
    assert np.array_equal(rows, columns // 2)


def test_judges_are_picked_by_name_and_the_missing_are_noted(monkeypatch: Any) -> None:
    with pytest.raises(ValueError, match="no rater named 'ear'"):
        named.NamedJudges(rater="ear")

    def unreachable(*_: Any) -> Any:
        raise OSError("no route to the hub")

    monkeypatch.setattr(named, "_whisper", unreachable)
    monkeypatch.setattr(named, "WavLMJudge", unreachable)
    monkeypatch.setattr(named, "UtmosRater", lambda: None)
    judges, notes = named.choose(standard=True)
    assert len(notes) == 2
    assert "no route to the hub" in notes[0]
    assert judges.names == {
        "recogniser": "whisper base", "speakers": "wespeaker, eres2net", "rater": "utmos",
    }  # fmt: skip


@pytest.mark.slow
def test_the_real_judges_pass_their_controls() -> None:
    """Real speech, shuffled words, a wrong speaker and silence, heard by the offline judges."""
    shared = Path(__file__).parents[3] / "shared" / "speech"
    if not (shared / "manifest.tsv").is_file() or not named.DEFAULT_FOLDER.is_dir():
        pytest.skip("needs the speech beside the repository and the judges' weights")
    from voxray.evaluate import sets

    clips = [c for c in sets.read_clips(shared) if c.corpus == "librispeech-test-other"]
    spoken = sets.references(clips, "en")[:5]
    made = [
        Item(f"r{n}", "", r.clip.path, r.own[0].text, r.own[0].path) for n, r in enumerate(spoken)
    ]
    ears = Ears(named.NamedJudges())
    table = {
        name: measure.figures(list(measure.judge_clips(clips, ears)), [])
        for name, clips in controls(made).items()
    }
    assert broken(table) == []
