"""The README's Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from voxray.bundle import Bundle

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_the_snippets_run(
    name: str, tiny: Bundle, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bundle, "builtin", staticmethod(lambda: tiny))
    monkeypatch.chdir(recording.parent)
    recording.rename("me.wav")
    text = (ROOT / name).read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(snippets) == 2
    for snippet in snippets:
        exec(compile(snippet, name, "exec"), {})  # noqa: S102
    assert Path("hello.wav").is_file() and Path("me.safetensors").is_file()
