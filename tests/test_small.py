"""A model that holds one part and takes the rest from its base in the package, as `mini-small` does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from voxray import checkpoint, packaged, tts
from voxray import engine as engines
from voxray.bundle import Bundle
from voxray.commands import app
from voxray.commands.serve import _models
from voxray.compress.student import save_beside, with_student
from voxray.config import StudentConfig
from voxray.evaluate.judges import Judges
from voxray.models.student import Student
from voxray.packaged import BUILTIN, builtin_models, home
from voxray.train.tuning import can_be_tuned
from voxray.voice import Voice

LIMIT = 60_000_000  # bytes of all weights that speaking needs
SMALL = BUILTIN / "mini-small"


@pytest.fixture
def student() -> Student:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Student(StudentConfig(width=256, text_width=32)).eval()


@pytest.fixture
def package(
    tiny: Bundle, student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A package with the tiny model and a student beside it."""
    folder = tmp_path / "package"
    monkeypatch.setattr(packaged, "BUILTIN", folder)
    monkeypatch.setattr(tts, "_pipelines", {})
    monkeypatch.chdir(tmp_path)
    tiny.save(folder / "tiny")
    save_beside(student, "tiny", folder / "tiny-small")
    return folder


def test_it_holds_the_student_alone_and_is_whole_when_loaded(
    tiny: Bundle, student: Student, package: Path
) -> None:
    _, held = checkpoint.load(package / "tiny-small")
    assert all(name.startswith("gpt.") for name in held)
    assert checkpoint.rounded_parts(package / "tiny-small") == ("gpt.",)
    small, base = Bundle.load("tiny-small"), Bundle.load(package / "tiny")
    assert isinstance(small.gpt, Student) and (small.name, small.hears_as) == ("tiny-small", "tiny")
    assert small.config.generator == tiny.config.generator
    for part in ("generator", "content", "quantiser"):
        theirs = getattr(base, part).state_dict()
        assert all(torch.equal(v, theirs[k]) for k, v in getattr(small, part).state_dict().items())
    weight = small.gpt.head.weight
    assert 0.0 < (weight - student.head.weight).abs().max() < 0.01 * student.head.weight.abs().max()
    both = [checkpoint.weights_hash(package / name) for name in ("tiny-small", "tiny")]
    assert small.weights_hash == "+".join(both)


def test_saved_it_stands_by_itself_and_is_the_same(package: Path, tmp_path: Path) -> None:
    small = Bundle.load("tiny-small")
    small.save(tmp_path / "whole")
    for name in ("tiny", "tiny-small"):
        (package / name / checkpoint.CONFIG_FILE).unlink()
    whole = Bundle.load(tmp_path / "whole")
    assert (whole.config.base, whole.rounded) == ("", ("gpt.",))
    for part in whole.parts:
        theirs = getattr(small, part).state_dict()
        assert all(torch.equal(v, theirs[k]) for k, v in getattr(whole, part).state_dict().items())


def test_voices_of_the_base_and_of_both_fit_without_a_warning(
    package: Path, voice: Voice, recording: Path
) -> None:
    options: dict[str, Any] = {"seed": 3, "max_tokens": 20}
    heard = Voice.from_file(recording, model=Bundle.load("tiny-small"))
    assert heard.model == "tiny"

    def notes(model: str, name: str) -> list[str]:
        made = tts("Hello there.", replace(voice, model=name), model=model, **options)
        return [note for note in made.warnings if "was made with" in note]

    for name in ("", "tiny", "tiny-small"):
        assert notes("tiny-small", name) == []
    assert notes("tiny", "tiny") == [] and len(notes("tiny-small", "other")) == 1


def test_a_base_with_other_weights_will_do_while_tokens_and_text_mean_the_same(
    tiny: Bundle, package: Path
) -> None:
    other = Bundle.load("tiny")
    with torch.no_grad():
        other.generator.decoder.filters.bias.add_(0.1)
    other.save(package / "tiny")
    again = Bundle.load("tiny-small")
    assert again.weights_hash.endswith(checkpoint.weights_hash(package / "tiny"))
    other.quantiser.codebook.add_(0.1)
    other.config = other.config.model_copy(update={"fingerprint": "another"})
    other.save(package / "tiny")
    with pytest.raises(ValueError, match="the text front end and the code vectors differ; install"):
        Bundle.load("tiny-small")


def test_a_base_that_is_not_there_or_no_base_is_named(package: Path, student: Student) -> None:
    with pytest.raises(ValueError, match="is based on 'tiny'"):
        save_beside(student, "tiny-small", package / "smaller")
    few = Student(StudentConfig(width=8, text_width=8, codebook_size=5))
    with pytest.raises(ValueError, match="322 text symbols and 5 tokens does not fit 'tiny'"):
        save_beside(few, "tiny", package / "smaller")
    path = package / "tiny-small" / checkpoint.CONFIG_FILE
    header = json.loads(path.read_text())
    for name, said in (("../tiny", "not among the models"), ("tiny-small", "needs a base itself")):
        header["config"]["base"] = name
        path.write_text(json.dumps(header))
        with pytest.raises((ValueError, OSError), match=said):
            Bundle.load("tiny-small")


def test_names_are_taken_wherever_a_model_is(
    package: Path, tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert builtin_models() == ["tiny", "tiny-small"]
    assert home("tiny-small") == home(Path("tiny-small")) == package / "tiny-small"
    assert home("anna") == Path("anna")
    assert _models(["tiny-small", "a=b"]) == {"tiny-small": Path("tiny-small"), "a": Path("b")}
    with pytest.raises(ValueError, match="NAME=VALUE"):
        _models(["anna"])
    monkeypatch.setattr(Bundle, "builtin", staticmethod(lambda: tiny))
    monkeypatch.setattr(engines, "DEFAULT", "tiny")
    assert tts.pipeline("tiny").models is tiny
    with_student(tiny, tts.pipeline("tiny-small").models.gpt).save(Path("tiny"))  # type: ignore[arg-type]
    assert home("tiny") == Path("tiny")  # a folder of that name comes first
    told = CliRunner().invoke(app, ["info", "--model", "tiny-small"])
    assert told.exit_code == 0 and "tiny-small (gpt" in told.stdout
    assert "built-in models  tiny, tiny-small" in told.stdout


def test_a_student_is_taught_not_tuned(package: Path, tiny: Bundle) -> None:
    small = Bundle.load("tiny-small")
    with pytest.raises(ValueError, match="'tiny-small' is a student, which is taught"):
        can_be_tuned(small)
    can_be_tuned(small, "generator")
    can_be_tuned(tiny)


def test_the_weights_in_the_package_stay_small() -> None:
    sizes = {path: path.stat().st_size for path in BUILTIN.glob("*/weights*.safetensors")}
    assert sum(sizes.values()) <= LIMIT, sizes


@pytest.mark.slow
@pytest.mark.chosen
@pytest.mark.skipif(not SMALL.is_dir(), reason="mini-small is not in this package")
@pytest.mark.parametrize(
    ("text", "name", "language", "words"),
    [
        ("The report was short, clear, and completely wrong.", "nova", "en", ("report", "short")),
        ("今天的天气真不错，我们一起去公园散步吧。", "xiaoni", "zh", ("天", "公")),
    ],
)
def test_the_model_in_the_package_speaks(
    text: str, name: str, language: str, words: tuple[str, ...]
) -> None:
    made = tts(text, name, model="mini-small", seed=1)
    assert made.model == "mini-small" and made.warnings == []
    assert 1.5 < made.seconds < 8.0 and float(np.abs(made.audio).max()) > 0.05
    judges = Judges()
    if not (judges.folder / "whisper-base").is_dir():
        return
    from voxray.audio import resample

    heard = judges.recogniser([resample(made.audio, made.sample_rate, 16_000)], language)[0].lower()
    assert any(word in heard for word in words), heard


def test_a_model_that_is_nowhere_is_told_with_those_that_are() -> None:
    with pytest.raises(FileNotFoundError, match="name its folder, or one in the package"):
        Bundle.load("mini-smal")
