"""The harness with made-up judges and engine: what goes in must come out in the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxray.evaluate import baseline, harness, report
from voxray.evaluate.judges import Judges
from voxray.evaluate.missing import JudgeMissing
from voxray.evaluate.sets import Clip, Line, Reference

LINE = Line("t1", "the boats came home before the storm", "en")


class Scripted:
    """Judges that say what they are told."""

    def __init__(self, heard: dict[int, str]) -> None:
        self.heard = heard
        self.speakers = (_Ear("one"), _Ear("two"))

    def recogniser(self, waves: list[Any], language: str) -> list[str]:
        return [self.heard[len(wave)] for wave in waves]

    def naturalness(self, wave: Any) -> float:
        return 3.5


class _Ear:
    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, wave: Any) -> Any:
        return np.array([wave[0], 1.0 - wave[0]], np.float32)


class Spoken(Clip):
    """A clip whose wave is a constant: the made-up speaker."""

    def wave(self) -> Any:
        return np.full(100, 1.0 if self.speaker == "a" else 0.0, np.float32)


def reference(speaker: str) -> Reference:
    clips = [Spoken(Path(f"{speaker}{i}.wav"), "c", speaker, "en", 5.0, "f") for i in range(2)]
    return Reference("c", speaker, "en", "f", clips[0], (clips[1],))


def speak(task: harness.Task) -> harness.Take:
    wave = np.full(task.seed, 1.0, np.float32)
    return harness.Take(task, wave, compute_s=0.1)


def scores_for(
    heard: dict[int, str], row: str = "zero-shot", line: Line = LINE
) -> list[harness.Score]:
    judges: Any = Scripted(heard)
    casting = harness.Casting(judges, [reference("a"), reference("b")])
    tasks = [
        harness.Task(row, line, "a", reference("a"), "my uncle sold umbrellas", s) for s in heard
    ]
    return list(harness.run(tasks, judges, casting, speak))


def test_a_clip_is_scored_by_every_judge() -> None:
    (score,) = scores_for({16000: "The boats came home before the storm."})
    assert (score.errors, score.length, score.lost, score.repeated) == (0, 7, 0, 0)
    assert score.leaked == []
    assert score.identified == {"one": True, "two": True}
    figures = harness.summarise([score])
    assert figures["similarity one"].value == pytest.approx(1.0)
    assert figures["identified two"].value == pytest.approx(100.0)
    assert figures["rtf"].value == pytest.approx(0.1)
    assert "pinyin" not in figures


def test_lost_repeated_and_leaked_runs_reach_the_table() -> None:
    heard = {
        10: "the boats came home",
        11: "the boats came home came home before the storm",
        12: "sold umbrellas the boats came home before the storm",
        13: "the boats came home before the storm",
    }
    figures = harness.summarise(scores_for(heard))
    assert figures["lost or repeated"].value == pytest.approx(50.0)
    assert figures["leaked"].value == pytest.approx(25.0)


def test_mandarin_is_counted_in_characters_and_syllables() -> None:
    pytest.importorskip("opencc")
    pytest.importorskip("pypinyin")
    line = Line("z", "他在河边钓鱼", "zh")
    (score,) = scores_for({9: "他在河邊掉魚"}, line=line)
    assert (score.errors, score.length) == (1, 6)
    assert (score.pinyin_errors, score.pinyin_length) == (0, 6)


def test_scores_survive_json() -> None:
    (score,) = scores_for({8: "the boats came"})
    assert harness.from_json(harness.to_json(score)) == score
    nameless = replace(score, compute_s=float("nan"))
    assert np.isnan(harness.from_json(harness.to_json(nameless)).compute_s)


def test_goals_lean_on_the_teacher_s_figures_on_the_same_texts() -> None:
    right, wrong = "the boats came home before the storm", "the boats came home before"
    teacher = [replace(s, row="teacher") for s in scores_for({5: right})]
    made = report.verdicts([*teacher, *scores_for({6: wrong})])
    error = next(v for v in made if v.measure == "error")
    assert error.bound == pytest.approx(6.0)
    assert error.met is False
    assert report.verdicts([*teacher, *scores_for({6: right})])[0].met is True
    assert "not measured" in report.goals_table(made)  # the judges of the goals were not asked


def test_the_cross_language_row_is_compared_with_the_same_text_s_language() -> None:
    right = "the boats came home before the storm"
    scores = [
        *scores_for({6: right}),
        *scores_for({7: "the boats went home before the storm"}, "cross-language"),
    ]
    error = next(
        v for v in report.verdicts(scores) if v.row == "cross-language" and v.measure == "error"
    )
    assert error.bound == pytest.approx(3.0)
    assert error.met is False


def test_a_cut_off_baseline_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "baseline.jsonl"
    scores = [replace(s, row="teacher") for s in scores_for({5: "the boats"})]
    assert baseline.append(path, scores) == 1
    kept = baseline.read(path)
    take = harness.Take(harness.Task("teacher", LINE, None), np.zeros(5, np.float32))
    assert list(baseline.unjudged([take], kept)) == []
    assert list(baseline.unjudged([take], [])) == [take]


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(JudgeMissing, match="evaluate.fetch"):
        Judges(tmp_path).naturalness  # noqa: B018
