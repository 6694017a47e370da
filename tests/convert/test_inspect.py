"""`voxray inspect`: facts and reasons in 80 columns, one line for a file that is refused."""

from __future__ import annotations

import json
from pathlib import Path

import made
import pytest

from voxray.commands import main

Said = pytest.CaptureFixture[str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "demo_e8_s104.pth"
    path.write_bytes(made.saved(made.v2_content()))
    return path


def test_it_says_what_and_why(capsys: Said, file: Path) -> None:
    assert main(["inspect", str(file)]) == 0
    said = capsys.readouterr().out
    for part in ("demo_e8_s104.pth", "v2", "8epoch_104iteration", "float16", "sampling_rate 32000",
                 "Why:", "It has 704 reference bins.", "- ref_enc.spectral.#.fc.weight: 1x704\n",
                 "- flow.flows.#.pre.weight: 2x2x1\n"):  # fmt: skip
        assert part in said
    assert max(map(len, said.splitlines())) <= 80


def test_json(capsys: Said, file: Path) -> None:
    assert main(["inspect", str(file), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kind"], facts["version"], facts["tag"]) == ("s2", "v2", "PK")
    assert (facts["tensors"], facts["dtypes"]) == (5, {"float16": 5})
    assert facts["elements"] == 732 + 704 + 512 + 512 + 4
    assert facts["shapes"]["enc_p.text_embedding.weight"] == [732, 1]
    assert facts["config"]["data"] == {"sampling_rate": 32000}


def test_v3_or_v4(capsys: Said, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(made.saved({"weight": made.matching_weights()}))
    assert main(["inspect", str(path)]) == 2
    assert "v3 or v4" in capsys.readouterr().err
    assert main(["inspect", str(path), "--version", "v4"]) == 0
    assert "v4" in capsys.readouterr().out


@pytest.mark.parametrize("data", [b"", b"noise" * 9, made.saved({"weight": {"x": made.Evil()}})])
def test_a_bad_file_is_one_line(
    capsys: Said, tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(made.PWNED, str(tmp_path / "pwned"))
    path = tmp_path / "bad.pth"
    path.write_bytes(data)
    assert main(["inspect", str(path)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "Traceback" not in said.err
    assert not (tmp_path / "pwned").exists()


def test_a_missing_file(capsys: Said, tmp_path: Path) -> None:
    assert main(["inspect", str(tmp_path / "absent.pth")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_help_fits_eighty_columns(capsys: Said) -> None:
    assert main(["inspect", "--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_escape_sequences_stay_in_the_file(capsys: Said, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(made.saved({**made.v2_content(), "info": "\x1b[2Jgone"}))
    assert main(["inspect", str(path)]) == 0
    assert "\x1b" not in capsys.readouterr().out
