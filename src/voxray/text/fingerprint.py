"""The frozen state of the text front end: a manifest of all that decides the phonemes, and its
hash.

A model remembers the manifest that it was trained with. `check` compares it with the
present one and names what differs: library versions, data files, rules, the user's lexicon,
and the sentences of a built-in probe set (data/probes.txt) that now read differently.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from .pipeline import TextPipeline

LIBRARIES = ("jieba", "pypinyin")
PUBLISHED_LIBRARIES = (
    "ToJyutping", "g2pk2", "g2pw", "jamo", "pyopenjtalk-prebuilt", "python-mecab-ko", "python-mecab-ko-dic",
)  # fmt: skip
_NOT_RULES = frozenset(
    ("__init__.py", "breath.py", "fingerprint.py", "phonemes.py", "sentences.py")
)
_UNHASHED_DATA = frozenset(("probes.txt", "LICENSES.md"))


@dataclass(frozen=True)
class Difference:
    """One part of the manifest that is not as it was."""

    part: str
    name: str
    saved: str
    current: str

    def __str__(self) -> str:
        return (
            f"{self.part} {self.name}: was {self.saved or 'absent'}, is {self.current or 'absent'}"
        )


@dataclass(frozen=True)
class ChangedSentence:
    """A probe sentence that reads differently."""

    text: str
    saved: str
    current: str


@dataclass(frozen=True)
class Check:
    """Result of a comparison; `same` is whether the fingerprints agree."""

    same: bool
    saved: str
    current: str
    differences: tuple[Difference, ...]
    sentences: tuple[ChangedSentence, ...]

    def __str__(self) -> str:
        if self.same:
            return f"the text front end is unchanged ({self.current})"
        lines = [f"the text front end has changed: {self.saved} -> {self.current}"]
        lines += [f"  {difference}" for difference in self.differences]
        lines += [f"  {s.text}\n    was {s.saved}\n    is  {s.current}" for s in self.sentences]
        if not self.sentences:
            lines.append("  no sentence of the probe set reads differently")
        return "\n".join(lines)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _is_text(name: str) -> bool:
    return name.endswith((".txt", ".tsv", ".md"))


def _data_digest(file: Traversable) -> str:
    content = file.read_bytes()
    return _digest(b"\n".join(content.splitlines()) if _is_text(file.name) else content)


def rules_digest(source: str) -> str:
    """Hash of what code does: comments, docstrings, blank space and line breaks do not count."""
    docs: set[tuple[int, int]] = set()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            docs.add((first.lineno, first.end_lineno or first.lineno))
    lines = source.splitlines(keepends=True)
    for start, end in docs:
        lines[start - 1 : end] = ["\n"] * (end - start + 1)
    return _digest(" ".join(_code_lines("".join(lines))).encode())


def _code_lines(source: str) -> list[str]:
    """Lines without comments and surrounding space; the same on every Python version."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {t.start[0]: t.start[1] for t in tokens if t.type == tokenize.COMMENT}
    lines = enumerate(source.splitlines(), 1)
    cut = (line[: comments.get(number, len(line))].strip() for number, line in lines)
    return [line for line in cut if line]


@cache
def _static() -> dict[str, dict[str, str]]:
    here = files(__package__)
    data = {f.name: f for f in here.joinpath("data").iterdir() if f.name not in _UNHASHED_DATA}
    return {
        "library": {name: version(name) for name in LIBRARIES},
        "data": {name: _data_digest(data[name]) for name in sorted(data)},
        "rules": _rules(here),
    }


def _rules(folder: Traversable, prefix: str = "") -> dict[str, str]:
    code = {f.name: f for f in folder.iterdir() if f.name.endswith(".py")}
    names = sorted(set(code) - _NOT_RULES)
    return {prefix + n: rules_digest(code[n].read_text(encoding="utf-8")) for n in names}


@cache
def _published() -> dict[str, dict[str, str]]:
    """The same with what the published conventions add: their rules, their optional packages."""
    parts = _static()
    rules = _rules(files(__package__).joinpath("published"), "published/")
    libraries = {name: _installed(name) for name in PUBLISHED_LIBRARIES}
    more = {"library": libraries, "rules": rules}
    return {part: {**values, **more.get(part, {})} for part, values in parts.items()}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def state(pipeline: TextPipeline) -> dict[str, dict[str, str]]:
    """All that decides the phonemes, in parts; a user's own lexicon is no part of it."""
    parts = _static() if pipeline.convention == "voxray" else _published()
    return {**parts, "settings": pipeline.settings()}


def fingerprint(pipeline: TextPipeline) -> str:
    """16 hexadecimal digits that name the state."""
    return _digest(json.dumps(state(pipeline), sort_keys=True).encode())


@cache
def probes() -> tuple[str, ...]:
    """The built-in probe sentences."""
    text = files(__package__).joinpath("data", "probes.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def manifest(pipeline: TextPipeline) -> dict[str, Any]:
    """What to save beside a model: fingerprint, state, and how every probe sentence reads."""
    readings = {text: str(pipeline(text)) for text in probes()}
    named = {"fingerprint": fingerprint(pipeline), "user_lexicon": pipeline.lexicon.digest}
    return {**named, **state(pipeline), "probes": readings}


def load_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest from a JSON file, or from the `text` entry of a model's config.json."""
    path = path / "config.json" if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file") from error
    inner = content.get("text", content) if isinstance(content, dict) else None
    if not isinstance(inner, dict) or "fingerprint" not in inner:
        raise ValueError(f"{path} holds no text manifest (no fingerprint)")
    return inner


def check(saved: Mapping[str, Any] | Path | str, lexicon: Path | None = None) -> Check:
    """Compare a saved manifest with the text front end as it is now.

    `saved` is what `TextPipeline.manifest()` returned when the model was trained, or the path of a
    JSON file or model folder that holds it. `print(check(...))` lists every difference and the
    probe sentences that read differently. ValueError if it is no manifest.
    """
    from .pipeline import TextPipeline
    from .published import PublishedPipeline

    saved = load_manifest(Path(saved)) if isinstance(saved, (str, Path)) else saved
    if "fingerprint" not in saved:
        raise ValueError("not a text manifest: it has no fingerprint")
    settings = saved.get("settings", {})
    if settings.get("convention") == PublishedPipeline.convention:
        known = "v1" if settings.get("version") == "v1" else "v2"
        pipeline: TextPipeline = PublishedPipeline(lexicon, version=known)
    else:
        pipeline = TextPipeline(lexicon)
    now, was = fingerprint(pipeline), str(saved["fingerprint"])
    if now == was:
        return Check(True, was, now, (), ())
    parts = state(pipeline).items()
    differences = [d for name, part in parts for d in _differ(name, saved.get(name, {}), part)]
    sentences = _reread(pipeline, saved.get("probes", {}))
    return Check(False, was, now, tuple(differences), tuple(sentences))


def _differ(part: str, saved: Mapping[str, str], current: Mapping[str, str]) -> list[Difference]:
    names = sorted({*saved, *current})
    pairs = [(name, saved.get(name, ""), current.get(name, "")) for name in names]
    return [Difference(part, name, was, now) for name, was, now in pairs if was != now]


def _reread(pipeline: TextPipeline, saved: Mapping[str, str]) -> list[ChangedSentence]:
    changed: list[ChangedSentence] = []
    for text, was in saved.items():
        try:
            now = str(pipeline(text))
        except ValueError as error:
            now = f"refused: {error}"
        if now != was:
            changed.append(ChangedSentence(text, was, now))
    return changed
