"""The recorded sentences, where the recordings and the optional packages are at hand."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

import recorded
from voxray.text.published import PublishedPipeline, cut, prepare, split_long

TEXT = recorded.FOLDER / "text"
pytestmark = pytest.mark.skipif(not TEXT.is_dir(), reason="the recorded sentences are not here")
NEEDED = {"zh": (), "yue": ("ToJyutping",), "ko": ("g2pk2", "jamo", "mecab")}


def lines(name: str) -> list[dict]:
    content = (TEXT / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in content.splitlines()]


@pytest.mark.slow
@pytest.mark.chosen
@pytest.mark.parametrize("language", NEEDED)
def test_sentences(language: str) -> None:
    absent = [name for name in NEEDED[language] if find_spec(name) is None]
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")
    recorded = lines(language)
    for version in ("v1", "v2"):
        if version not in recorded[0]:
            continue
        speak = PublishedPipeline(version=version)
        found = [speak.clean(line["text"], language) for line in recorded]  # type: ignore[arg-type]
        expected = [line[version] for line in recorded]
        same = [f.ids == e["ids"] for f, e in zip(found, expected, strict=True)]
        assert sum(same) >= 0.98 * len(same)
        counts = [f.word2ph == e["word2ph"] for f, e in zip(found, expected, strict=True)]
        assert language == "ko" or sum(counts) >= 0.98 * len(counts)


@pytest.mark.parametrize("method", ["cut0", "cut1", "cut2", "cut3", "cut4", "cut5"])
def test_cuts(method: str) -> None:
    for line in lines("cuts"):
        assert cut(line["text"], method) == line["cut"][method]
        expected = line["prepared"][method]
        if isinstance(expected, dict):
            with pytest.raises(ValueError, match="valid text"):
                prepare(line["text"], method, line["lang"])
        else:
            assert prepare(line["text"], method, line["lang"]) == expected


def test_splitting_of_long_text() -> None:
    for line in lines("cuts"):
        assert split_long(line["text"], 60) == line["split_big_text_60"]
