"""What the benchmarks of noise, quantiser, compression and freezing compute from their rows."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("parselmouth")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import article_freeze  # noqa: E402
import claims  # noqa: E402
import comparing  # noqa: E402
import fewshot  # noqa: E402
import snr  # noqa: E402
import vq_ablation  # noqa: E402

import compress  # noqa: E402
from voxray import audio  # noqa: E402
from voxray.voice import NOISE_COST  # noqa: E402

SPEAKERS = ("a", "b", "c", "d")


def noise_rows(slope: float = 0.01) -> list[snr.Row]:
    """Everything falls by a straight line from 30 dB on, the same for each speaker."""
    rows = []
    for n, speaker in enumerate(SPEAKERS):
        rows.append(snr.Row("m", "clean", snr.CLEAN, speaker, 0.5 + 0.1 * n, 3.0, 100.0))
        for kind in snr.KINDS:
            for level in snr.LEVELS:
                lost = slope * (30.0 - level)
                rows.append(
                    snr.Row("m", kind, level, speaker, 0.5 + 0.1 * n - lost, 3.0 - 5 * lost, 100.0)
                )
    return rows


def test_rows_are_kept_and_those_of_another_run_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows" / "rows.jsonl"
    row = snr.Row("m", "white", 10.0, "a", 0.1, 3.0, 99.0)
    comparing.Kept(path, snr.Row, "weights x")(row)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"model": "m", "ki')  # killed in the middle of a row
    again = comparing.Kept(path, snr.Row, "weights x")
    assert again.rows == [row]
    assert again.has(kind="white", level=10.0) and not again.has(kind="babble")
    with pytest.raises(ValueError, match="holds rows of another run"):
        comparing.Kept(path, snr.Row, "weights y")
    assert comparing.Kept(None, snr.Row, "x")(row) is row


def test_a_tenth_is_lost_where_the_line_says() -> None:
    assert snr.falls_to([60, 20, 10], [1.0, 1.0, 0.8]) == pytest.approx(15.0)
    assert snr.falls_to([60, 20], [-0.1, -0.2]) is None
    assert math.isnan(snr.falls_to([60, 20], [1.0, 0.95]) or 0.0)
    found = {(f["kind"], f["measure"]): f for f in snr.lost_a_tenth(noise_rows())}
    # the mean likeness is 0.65: 0.065 are gone 6.5 dB below the 30 dB where it begins to fall
    assert found["white", "similarity"]["level"] == pytest.approx(23.5)
    low, high = (found["white", "similarity"][end] for end in ("low", "high"))
    assert low <= 23.5 <= high
    assert math.isnan(found["white", "right"]["level"])


def test_the_warning_and_the_claim_come_from_the_same_rows() -> None:
    rows = noise_rows()
    costs = snr.costs(rows, "m")
    assert [limit for limit, _ in costs] == sorted(snr.WARNED)
    assert costs[1][1].startswith(
        "measured at 10 dB: 31 % of the likeness and 1.0 points of DNSMOS lost"
    )
    claim = snr.claim(rows, "m")  # 10, 5 and 0 dB: 25 dB below the beginning in the mean
    assert claim is not None
    assert claim["figure"]["value"] == pytest.approx(1.25)
    assert claim["figure"]["count"] == len(SPEAKERS)
    assert snr.claim([r for r in rows if r.level != 5.0], "m") is None  # not all levels: undecided
    assert set(snr.tables(rows, snr.curves(rows), "m")) == {
        "A tenth lost", "What a noisy reference costs", "All figures",
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(snr.KINDS))
def test_a_disturbance_has_the_level_that_was_asked_for(kind: str) -> None:
    dice = np.random.default_rng(0)
    time = np.arange(32_000) / 16_000
    wave = (0.2 * np.sin(700 * time) * (np.sin(3 * time) > 0)).astype(np.float32)
    others = [dice.standard_normal(16_000).astype(np.float32) for _ in range(6)]
    noisy = snr.disturbed(wave, kind, 10.0, np.random.default_rng(1), others)
    added = noisy - wave
    assert audio.rms_db(wave) - audio.rms_db(added) == pytest.approx(10.0, abs=0.1)
    assert np.array_equal(snr.disturbed(wave, kind, snr.CLEAN, dice, others), wave)


def quantiser_rows(more: float) -> list[vq_ablation.Row]:
    return [
        vq_ablation.Row(
            speaker, seconds, seed, bypass, 0.5, 0.1 + more * bypass, 0.1, 9.0, 10.0 + 100 * more * bypass
        )
        for speaker in "ab" for seconds in (10, 20, 30, 60) for seed in (1, 2) for bypass in (False, True)
    ]  # fmt: skip


def test_pairs_are_compared_and_less_than_thirty_seconds_decide() -> None:
    rows = quantiser_rows(0.02)
    found = {(r["seconds"], r["measure"]): r for r in vq_ablation.compared(rows)}
    assert found[10, "drift"]["difference"] == pytest.approx(0.02)
    assert found[None, "drift"]["pairs"] == 16
    claim = vq_ablation.claim([*rows, vq_ablation.Row("c", 10, 1, True, 0, 9, 9, 9, 99)])  # no pair
    assert claim["figure"]["value"] == pytest.approx(0.2)
    assert claim["second"]["count"] == 8
    assert "drift: without quantisation worse" in vq_ablation.answer(vq_ablation.compared(rows))
    assert "not different" in vq_ablation.answer(vq_ablation.compared(quantiser_rows(0.0)))


def models() -> list[compress.Row]:
    words, near = [10] * 8, [0.8] * 8
    return [
        compress.Row("whole", 0.0, 8.0, 100.0, 1.5, [1] * 8, words, near),
        compress.Row("pruned by effect", 0.3, 7.0, 110.0, 1.6, [1] * 8, words, near),
        compress.Row("pruned by magnitude", 0.3, 7.0, 110.0, 1.9, [2] * 8, words, near),
        compress.Row("student", 0.0, 2.0, 350.0, 1.55, [1] * 7 + [2], words, near, faster=3.5),
    ]


def test_smaller_models_are_held_against_the_goals() -> None:
    met = {what: ok for what, _, _, ok in compress.verdicts(models())}
    assert all(met.values())
    assert len(met) == 7
    worse = compress.verdicts([*models()[:3], compress.Row("student", 0, 2, 200.0, 1.9, [9] * 8, [10] * 8, [0.1] * 8, faster=2.0)])  # fmt: skip
    assert sum(not ok for *_, ok in worse) == 3
    claim = compress.claim(models())
    assert claim is not None
    assert claim["figure"]["value"] == pytest.approx(2.0 - 1.25)
    assert claim["second"]["value"] == pytest.approx(1.05 - 1.55 / 1.5)
    assert compress.claim(models()[:2]) is None
    assert compress.table(models()).count("\n") == 5
    pyplot = pytest.importorskip("matplotlib.pyplot")
    figure = pyplot.figure()
    compress.picture(models())(figure)
    assert len(figure.axes) == 2
    pyplot.close(figure)


def test_a_machine_that_slows_down_slows_both(monkeypatch: pytest.MonkeyPatch) -> None:
    at = iter([100, 290, 90, 270, 40, 120, 20, 60, 100, 310])  # whole, small, whole, ...
    monkeypatch.setattr(compress, "speed", lambda bundle, seconds: next(at))
    whole: Any = object()
    rate, times = compress.speeds(whole, object(), 5.0)  # type: ignore[arg-type]
    assert (rate, times) == (270, 3.0)
    monkeypatch.setattr(compress, "speed", lambda bundle, seconds: 100.0)
    assert compress.speeds(whole, whole, 5.0) == (100.0, 1.0)


def test_freezing_is_judged_by_the_share_of_the_rise_that_goes() -> None:
    rows = [
        article_freeze.Row(seed, freeze, 2.0, 1.9, 0.1 if freeze else 0.2)
        for seed in (1, 2, 3) for freeze in (True, False)
    ]  # fmt: skip
    claim = article_freeze.claim(rows)
    assert claim["figure"]["value"] == pytest.approx(0.5)  # type: ignore[index]


def test_few_shot_rows_make_goals_and_tables() -> None:
    rows = [
        fewshot.Row(
            name, 60.0, 55.0, {"x": 0.1, "y": 0.2}, {"x": 0.3, "y": 0.2}, 5, 6, 100, 3.0, 3.1,
            {"generator": 40.0}, 2.0,
        )
        for name in SPEAKERS
    ]  # fmt: skip
    found = {what: (figure, met) for what, _, figure, met in fewshot.verdicts(rows)}
    assert found["above zero-shot, x"] == ("4 of 4", True)
    assert found["above zero-shot, y"] == ("0 of 4", False)
    assert found["word errors"][0].startswith("+1.0")
    assert "| 60 | similarity x | 0.10 | 0.30 | +0.20" in fewshot.gains(rows)
    assert fewshot.table(rows).count("generator 40") == 4
    pyplot = pytest.importorskip("matplotlib.pyplot")
    figure = pyplot.figure()
    fewshot.picture(rows)(figure)
    assert [axes.get_title() for axes in figure.axes][2:] == ["words misheard, %", "DNSMOS"]
    pyplot.close(figure)


def test_parts_that_stand_still_may_be_named_both_ways() -> None:
    among_others = fewshot.settings(False, 0, 0, "", 0.0, 0.0, {"still": ["decoder.direct"]})
    assert among_others.still == ("decoder.direct",)
    assert fewshot.settings(False, 0, 9, "prior,flow", 0.0, 0.0, {}).still == ("prior", "flow")


def test_every_claim_of_another_benchmark_stands_once_and_is_filled() -> None:
    text = claims.DOC.read_text("utf-8")
    figure = {"value": 0.9, "low": 0.85, "high": 0.95, "count": 20}
    both: dict[str, Any] = {"figure": figure, "second": figure, "note": "so it is"}
    found = {claim.start: both if len(claim.figures) == 2 else {"figure": figure, "note": ""}
             for claim in claims.OTHERS}  # fmt: skip
    made = claims.filled_by_others(text, {"claims": found, "weights": "abc", "quick": False})
    rows = [line for line in made.splitlines() if "weights abc" in line]
    assert len(rows) == len(claims.OTHERS)
    assert all("| confirmed |" in row for row in rows)
    assert len(made.splitlines()) == len(text.splitlines())
    none = claims.filled_by_others(text, {"claims": {}, "weights": "abc", "quick": False})
    assert none == text


def test_the_voice_warns_with_what_was_measured() -> None:
    table = (BENCHMARKS / "results" / "snr.md").read_text("utf-8")
    assert NOISE_COST
    for limit, cost in NOISE_COST:
        assert f"| {limit:.0f} | {cost} |" in table
