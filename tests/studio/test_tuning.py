"""Fine-tuning in the background: started, followed, ended; consent first, on record at the end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from voxray.serve.errors import Problem
from voxray.studio.actions import Studio
from voxray.studio.tuning import Report, Tuner, Wanted, curves
from voxray.trust import Refused
from voxray.voice import Voice

STUB = """
import shutil, sys, time
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--output") + 1])
log = out / "work" / "run" / "gpt" / "log.jsonl"
log.parent.mkdir(parents=True)
log.write_text('{"step": 1, "seconds": 0.1, "kind": "gpt", "tokens": 2.5}\\n')
print("2 clips to learn from", flush=True)
if MODE == "hang": time.sleep(60)
if MODE == "fail": print("voxray: too little speech"); sys.exit(2)
shutil.copy(VOICE, out / "voice.safetensors")
"""


@pytest.fixture
def wanted(recording: Path) -> Wanted:
    return Wanted("anna", "p-1", [recording], agreed=True)


@pytest.fixture
def tuner(studio: Studio, voice: Voice, tmp_path: Path) -> Callable[[str], Tuner]:
    voice.save(tmp_path / "made.safetensors")

    def make(mode: str) -> Tuner:
        head = f"MODE, VOICE = {mode!r}, {str(tmp_path / 'made.safetensors')!r}\n"
        (tmp_path / "stub.py").write_text(head + STUB, encoding="utf-8")

        class Stub(Tuner):
            def command(self, arguments: Sequence[str]) -> list[str]:
                return [sys.executable, str(tmp_path / "stub.py"), *arguments]

        return Stub(studio.settings)

    return make


def ended(tuner: Tuner, seconds: float = 20.0) -> Report:
    until = time.monotonic() + seconds
    while tuner.report().state == "running" and time.monotonic() < until:
        time.sleep(0.02)
    return tuner.report()


def test_to_the_end(studio: Studio, tuner: Callable[[str], Tuner], wanted: Wanted) -> None:
    run = tuner("done")
    assert run.report() == Report()
    assert run.start(wanted).state == "running"
    made = ended(run)
    assert made.state == "done" and made.lines == ("2 clips to learn from",)
    assert [curve.title for curve in made.curves] == ["gpt: tokens"]
    assert studio.cast.state("tuned:anna") == "given"
    assert [p.name for p in (studio.settings.models / "anna" / "recordings").iterdir()] == [
        "someone.wav"
    ]


def test_failing_and_stopping(
    studio: Studio, tuner: Callable[[str], Tuner], wanted: Wanted
) -> None:
    run = tuner("fail")
    run.start(wanted)
    assert ended(run).state == "failed" and "too little" in ended(run).lines[-1]
    run = tuner("hang")
    run.start(replace(wanted, name="eve"))
    with pytest.raises(Problem) as told:
        run.start(replace(wanted, name="third"))
    assert told.value.code == "too-many"
    run.stop()
    assert ended(run).state == "stopped"
    assert "tuned:eve" not in studio.cast.names()


def test_a_new_run_takes_no_one_s_place(tuner: Callable[[str], Tuner], wanted: Wanted) -> None:
    run = tuner("fail")
    run.start(wanted)
    ended(run)
    with pytest.raises(Problem) as told:
        run.start(wanted)
    assert told.value.code == "voice-exists"


@pytest.mark.parametrize("change", [{"agreed": False}, {"who": ""}, {"purposes": ()}])
def test_consent_comes_first(
    studio: Studio, tuner: Callable[[str], Tuner], wanted: Wanted, change: dict[str, object]
) -> None:
    with pytest.raises(Refused) as told:
        tuner("done").start(replace(wanted, **change))  # type: ignore[arg-type]
    assert told.value.code == "consent-missing"
    assert not studio.settings.models.exists()


def test_what_cannot_be_learnt_from_leaves_nothing(
    studio: Studio, tuner: Callable[[str], Tuner], wanted: Wanted, tmp_path: Path
) -> None:
    bad = tmp_path / "x.wav"
    bad.write_bytes(b"no sound")
    table = tmp_path / "x.exe"
    table.write_text("x")
    for change in (
        {"recordings": [bad]},
        {"recordings": []},
        {"name": "../x"},
        {"transcripts": table},
    ):
        with pytest.raises(ValueError):
            tuner("done").start(replace(wanted, **change))  # type: ignore[arg-type]
    assert not list(studio.settings.models.glob("*"))


def test_files_get_safe_names_and_the_table_comes_along(
    studio: Studio, tuner: Callable[[str], Tuner], wanted: Wanted, recording: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "a clip; rm -rf.wav"
    odd.write_bytes(recording.read_bytes())
    table = tmp_path / "t.tsv"
    table.write_text("someone.wav\tHello.\n", encoding="utf-8")
    run = tuner("done")
    run.start(replace(wanted, recordings=[odd, recording], transcripts=table))
    assert ended(run).state == "done"
    folder = studio.settings.models / "anna"
    assert sorted(p.name for p in (folder / "recordings").iterdir()) == [
        "a_clip_rm_-rf.wav",
        "someone.wav",
    ]
    assert (folder / "transcripts.tsv").is_file()


def test_the_command_is_this_python_s_voxray(studio: Studio) -> None:
    assert Tuner(studio.settings).command(["--x"]) == [
        sys.executable,
        "-m",
        "voxray",
        "tune",
        "--x",
    ]


def test_curves_of_a_log_that_is_being_written(tmp_path: Path) -> None:
    log = tmp_path / "work" / "run" / "generator" / "log.jsonl"
    log.parent.mkdir(parents=True)
    rows = [{"step": n, "seconds": 0.1, "kind": "generator", "mel": 1 / n} for n in range(1, 1001)]
    rows.append({"step": 1000, "seconds": 9, "kind": "check", "score": -0.5})
    rows.append({"step": 1000, "seconds": 9, "kind": "check", "score": float("nan")})
    text = "\n".join(json.dumps(row) for row in rows)
    log.write_text(text + '\n{"step": 10', encoding="utf-8")
    found = curves(tmp_path)
    assert [curve.title for curve in found] == ["generator: mel", "generator: score (check)"]
    assert len(found[0].points) <= 301 and found[0].points[-1] == (1000, 0.001)
    assert curves(tmp_path / "nothing") == ()
