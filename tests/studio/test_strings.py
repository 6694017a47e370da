"""Both languages say everything, and nothing is said twice or never."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from string import Formatter

import pytest

from voxray.notes import PAUSE, SAID, Note
from voxray.serve.errors import Problem
from voxray.studio import strings
from voxray.studio.figures import noted
from voxray.studio.strings import LANGUAGES, TABLE, Fault, Words
from voxray.trust import Refused

SOURCES = sorted(Path(strings.__file__).parent.glob("*.py"))
USED = re.compile(r'words\(\s*f?"([^"]+)"(\s*\+)?')


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("key", TABLE)
def test_both_languages_say_it_with_the_same_figures(key: str) -> None:
    english, chinese = TABLE[key]
    assert english.strip() and chinese.strip()
    assert placeholders(english) == placeholders(chinese)
    if key not in ("take.a", "other") and not re.fullmatch(r"[\W\d{}a-z×:]*", chinese):
        assert re.search(r"[\u4e00-\u9fff]", chinese), f"{key} is not Chinese"


def test_every_key_that_the_page_uses_is_there_and_no_other() -> None:
    exact: set[str] = set()
    prefixes: set[str] = {"error.", "file."}
    texts = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
    exact |= {f"fault.{key}" for key in re.findall(r'Fault\(\s*"[^"]+",\s*"([^"]+)"', texts)}
    for path in SOURCES:
        text = path.read_text(encoding="utf-8").replace("'", '"')
        for name, plus in USED.findall(text):
            (prefixes if plus else exact).add(name)
    missing = exact - TABLE.keys()
    assert not missing, f"the table lacks {sorted(missing)}"
    unused = {k for k in TABLE if k not in exact and not k.startswith(tuple(prefixes))}
    assert not unused, f"nobody says {sorted(unused)}"
    for prefix in prefixes:
        assert any(key.startswith(prefix) for key in TABLE), f"no key begins with {prefix}"


def test_errors_are_told_in_the_page_s_language() -> None:
    refusal = Refused("consent-missing", "no consent record for the voice 'anna'")
    assert "anna" in Words("en").error(refusal) and "[" not in Words("en").error(refusal)
    assert "同意" in Words("zh").error(refusal)
    assert "空" in Words("zh").error(Problem("text-empty", "the text is empty"))
    assert Words("en").error(KeyError("secret path")) == TABLE["error.internal"][0]
    assert Words("zh").error(ValueError("odd")) == "无法完成：odd"
    large = Fault("body-too-large", "file-large", file="voice", most=50)
    assert Words("en").error(large) == "The recording of the voice has over 50 MB"
    assert Words("zh").error(large) == "声音的录音超过 50 MB" and large.status == 413


def test_what_stands_beside_a_take_is_told_in_the_page_s_language() -> None:
    for code, said in SAID.items():
        note = Note.of(code, **{name: f"<{name}>" for name in placeholders(said)})
        assert copy.deepcopy(note).values == note.values
        assert noted(note, Words("en")) == note == said.format(**note.values)
        assert re.search(r"[\u4e00-\u9fff]", noted(note, Words("zh")))
        assert all(value in noted(note, Words("zh")) for value in note.values.values())
    assert noted(Note.of("skipped", words=PAUSE), Words("zh")).startswith("一处停顿")
    assert noted("no code", Words("zh")) == "no code"


def test_there_are_two_languages() -> None:
    assert LANGUAGES == ("en", "zh")
    with pytest.raises(ValueError):
        Words("fr")
