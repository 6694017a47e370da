"""`voxray tune`, the whole of it: recordings -> report -> tuned model, voice, before/after table, samples.

In: a file or folder of one speaker. Out: a folder that `--model` takes, with `voice.safetensors`, `clips.tsv`
(what was found of each clip), `report.md` and `samples/`. The judges listen to held-out texts while the
model is tuned (and to sentences of our own, where few were held out): similarity to the held-out recordings,
less what the word errors have grown by, decides when to stop. Without judges the held-out loss decides. Every
stage goes on where a killed run left it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.nn.utils import parametrize

from .. import audio
from ..bundle import MEMORY_SECONDS, Bundle
from ..cleaning import cleaned
from ..engine import save, tts
from ..packaged import BASE_FIELDS, DEFAULT, home
from ..synthesis import Synthesis
from ..train.clips import NOISY_DB, ClipReport, report_clips, split
from ..train.slices import Harvest, Slice, harvest
from ..train.store import RATE, Entry, Store
from ..train.training_file import training_judge, training_parts
from ..train.tuning import Tuning, can_be_tuned, tune
from ..train.voice_store import write_store
from ..voice import Voice
from . import metrics, normalise
from .judges import Judges, Wave
from .sets import RATE as HEARD_RATE

LISTENED = 12  # texts that are spoken at every check: fewer, and one word decides what is kept
SENTENCES = {  # said, too, where fewer clips were held out; `train.rehearsal` has others
    "en": (
        "The morning train was late, so we walked along the river.",
        "She put the heavy basket down and looked for her keys.",
        "Nobody in the village had ever seen such a bright light.",
        "Could you hold the door for a moment, please?",
        "Six small boats were tied to the wooden bridge.",
        "He had forgotten which pocket the ticket was in.",
        "The soup needs more salt and perhaps a little pepper.",
        "My brother plays the drums in a band on Saturdays.",
        "Behind the church there is a garden full of roses.",
        "We were told to wait until the doctor came back.",
        "This jacket is too thin for a winter in the north.",
        "Turn left at the second light and follow the wall.",
    ),
    "zh": (
        "今天早上下了一场大雨。",
        "他把书放在桌子上就走了。",
        "我们明天一起去公园散步吧。",
        "请你帮我把门关上，好吗？",
        "桥边停着六条小木船。",
        "她忘了把钥匙放在哪个口袋里。",
        "这碗汤还得再放一点盐。",
        "我弟弟每个星期六都去打篮球。",
        "学校后面有一个种满花的院子。",
        "司机让我们在路口等他回来。",
        "北方的冬天，穿这件外套太冷了。",
        "往左拐，再一直走到红绿灯。",
    ),
}
ERROR_ROOM = 0.01  # word errors may grow by this much before they cost
PUBLISHED_SECONDS = 9.5
NAN = float("nan")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Heard:
    """What the judges made of held-out texts: mean similarity by judge, word error rate."""

    similarity: dict[str, float]
    error: float
    texts: int

    @property
    def likeness(self) -> float:
        """The judges' mean."""
        return float(np.mean(list(self.similarity.values()))) if self.similarity else NAN


@dataclass
class Outcome:
    """What tuning came to. `same` is the held-out recordings' own similarity: the ceiling."""

    folder: Path
    reports: list[ClipReport]
    problems: list[str]
    seconds: float  # of speech learnt from
    before: Heard | None = None
    after: Heard | None = None
    same: dict[str, float] = field(default_factory=dict)
    rows: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Said:
    """A text to speak."""

    text: str
    language: str


class Listener:
    """The judges on the held-out clips of a store."""

    def __init__(self, judges: Judges, store: Path, seed: int = 1) -> None:
        self.judges = judges
        self.seed = seed
        corpus = Store(store)
        self.train = [e for e in corpus.entries if e.split == "train"]
        self.held = [e for e in corpus.entries if e.split == "dev"]
        waves = {e.name: audio.resample(corpus.audio(e), RATE, HEARD_RATE) for e in corpus.entries}
        self.reference = voice_wave(corpus, self.train)
        self._target = {
            judge.name: _mean([judge(waves[e.name]) for e in self.held])
            for judge in judges.speakers
        }
        self.same = {
            judge.name: metrics.cosine(
                _mean([judge(waves[e.name]) for e in self.train[:8]]), self._target[judge.name]
            )
            for judge in judges.speakers
        }

    def speak(self, bundle: Bundle, said: Said) -> Synthesis:
        """One text in the tuned voice."""
        voice = Voice.heard("tuned", heard_by(bundle, self.reference), RATE, bundle)
        options: dict[str, Any] = {"seed": self.seed, "language": said.language, "takes": 1}
        return tts(said.text, voice, model=bundle, **options)

    def texts(self) -> list[Said]:
        """Held-out texts, and sentences of our own where they are fewer than a check wants."""
        own = [Said(entry.text, entry.language) for entry in self.held[:LISTENED]]
        languages = list(dict.fromkeys(said.language for said in own))
        more = [
            Said(text, language) for language in languages for text in SENTENCES.get(language, ())
        ]
        return own + more[: LISTENED - len(own)]

    def __call__(self, bundle: Bundle) -> Heard:
        """Speak and judge: similarity to the held-out recordings, word errors."""
        said = self.texts()
        with parametrize.cached():  # adapters are added up once, not at every step
            made = [self.speak(bundle, one) for one in said]
        waves = [audio.resample(m.audio, m.sample_rate, HEARD_RATE) for m in made]
        errors, length = 0, 0
        for language in sorted({one.language for one in said}):
            own = [n for n, one in enumerate(said) if one.language == language]
            heard = self.judges.recogniser([waves[n] for n in own], language)
            for n, text in zip(own, heard, strict=True):
                alignment = metrics.best_alignment(
                    normalise.readings(said[n].text, language),
                    normalise.readings(text, language),
                )
                words = len(alignment.target)
                # a recogniser may babble on: no text is more than wrong
                errors, length = errors + min(alignment.errors, words), length + words
        near = {
            judge.name: float(
                np.mean([metrics.cosine(judge(wave), self._target[judge.name]) for wave in waves])
            )
            for judge in self.judges.speakers
        }
        return Heard(near, errors / max(1, length), len(said))


def _mean(vectors: Sequence[np.ndarray]) -> np.ndarray:
    mean = np.mean(vectors, axis=0)
    return mean / max(1e-9, float(np.linalg.norm(mean)))


def voice_wave(store: Store, entries: Sequence[Entry]) -> Wave:
    """Up to a minute of the voice, the clips one behind the other: what its speaker vector and its frames are taken from."""
    joined = np.concatenate([store.audio(entry) for entry in entries])
    return joined[: MEMORY_SECONDS * RATE]


def heard_by(bundle: Bundle, wave: Wave) -> Wave:
    """As much of a voice [N] as a model takes: the published ones want 3 to 10 s."""
    return wave[: round(PUBLISHED_SECONDS * RATE)] if bundle.config.version else wave


def few_shot(
    source: Path,
    name: str,
    out: Path,
    *,
    transcripts: Path | None = None,
    minutes: float = 1.0,
    model: Path | None = None,
    settings: Tuning | None = None,
    only: str = "",
    language: str = "en",
    clean: bool = False,
    judges: Judges | None = None,
    say: Say = lambda line: None,
) -> Outcome:
    """Tune a model to one speaker; ValueError or OSError says in one line why it cannot be done."""
    config = settings or Tuning()
    folder = home(model or DEFAULT)
    bundle = Bundle.load(folder, precision="float32")
    posterior, readout = training_parts(folder, bundle)
    can_be_tuned(bundle, only, posterior)
    work = out / "work"
    key = _key(source, transcripts, minutes, config, folder, clean)
    plan = _plan(work, key)
    if plan is None:
        plan = _prepare(
            source, transcripts, minutes, bundle, readout, work, key, language, clean, judges, say
        )  # fmt: skip
    store = work / "store"
    made = Outcome(out, plan.reports, plan.problems, _seconds(store))
    listener = None if judges is None else Listener(judges, store, config.seed)
    if listener is not None:
        made.same = listener.same
        made.before = _remembered(work / "before.json", lambda: listener(bundle))
        _samples(listener, bundle, out / "samples", "before")
        say(f"before: {_told(made.before)}")
    room = (made.before.error if made.before else 0.0) + ERROR_ROOM

    def check() -> dict[str, float]:
        assert listener is not None
        heard = listener(bundle)
        score = heard.likeness - max(0.0, heard.error - room)
        return {"score": score, "similarity": heard.likeness, "word errors": heard.error}

    made.rows = tune(
        bundle, store, work / "run", config, only=only, posterior=posterior,
        judge=training_judge(folder, bundle),
        check=None if listener is None else check, say=say,
    )  # fmt: skip
    _keep(bundle, name, store, made)
    if listener is not None:
        made.after = _remembered(work / "after.json", lambda: listener(bundle))
        _samples(listener, bundle, out / "samples", "after")
        say(f"after: {_told(made.after)}")
    _write(out / "report.md", report(made, name))
    return made


def _prepare(
    source: Path, transcripts: Path | None, minutes: float, bundle: Bundle, readout: Any,
    work: Path, key: str, language: str, clean: bool, judges: Judges | None, say: Say,
) -> _Plan:  # fmt: skip
    say("reading the recordings")
    transcribe = None if judges is None else judges.recogniser
    found = harvest(source, transcripts, transcribe, language)
    if clean:
        found.slices = [_cleaned(piece) for piece in found.slices]
    embed = None if judges is None else judges.speakers[0]
    reports = report_clips(found.slices, embed)
    _write(work.parent / "clips.tsv", clips_table(found, reports))
    train, held = split(found.slices, reports, minutes)
    say(f"{len(train)} clips to learn from, {len(held)} held out")
    write_store(work / "store", bundle, train, held, readout)
    for stale in ("before.json", "after.json"):
        (work / stale).unlink(missing_ok=True)
    plan = _Plan(reports, found.problems)
    rows = {"key": key, "problems": found.problems, "reports": [asdict(r) for r in reports]}
    _write(work / "plan.json", json.dumps(rows, ensure_ascii=False, indent=1))
    return plan


def _cleaned(piece: Slice) -> Slice:
    """A noisy slice without its noise; a clean one as it is."""
    if audio.snr_db(piece.wave, piece.rate) >= NOISY_DB:
        return piece
    return replace(piece, wave=cleaned(piece.wave, piece.rate))


@dataclass
class _Plan:
    reports: list[ClipReport]
    problems: list[str]


def _plan(work: Path, key: str) -> _Plan | None:
    """What an earlier run prepared from the same recordings and settings."""
    path = work / "plan.json"
    if not path.is_file():
        return None
    rows = json.loads(path.read_text(encoding="utf-8"))
    if rows["key"] != key:
        raise ValueError(
            f"{work.parent} holds a run with other recordings or settings; give another --output"
        )
    return _Plan([ClipReport(**row) for row in rows["reports"]], rows["problems"])


def _key(*given: Any) -> str:
    """A name for the inputs: files by size and time, settings by value (steps may be raised)."""
    parts = []
    for value in given:
        if isinstance(value, Path) and value.exists():
            files = (
                [value] if value.is_file() else sorted(p for p in value.rglob("*") if p.is_file())
            )
            stats = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
            parts.append(repr((str(value), stats)))
        elif isinstance(value, Tuning):
            free = ("generator_steps", "gpt_steps", "minutes", "patience")
            parts.append(json.dumps({k: v for k, v in value.model_dump().items() if k not in free}))
        else:
            parts.append(repr(value))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _seconds(store: Path) -> float:
    return sum(e.samples for e in Store(store).entries if e.split == "train") / RATE


def _remembered(path: Path, listen: Callable[[], Heard]) -> Heard:
    if path.is_file():
        return Heard(**json.loads(path.read_text(encoding="utf-8")))
    heard = listen()
    _write(path, json.dumps(asdict(heard)))
    return heard


def _samples(listener: Listener, bundle: Bundle, folder: Path, when: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, said in enumerate(listener.texts()[:3], start=1):
        path = folder / f"{number}-{when}.flac"
        if not path.is_file():
            save(listener.speak(bundle, said), path)


def _keep(bundle: Bundle, name: str, store: Path, made: Outcome) -> None:
    """Write the tuned model and its voice."""
    corpus = Store(store)
    train = [e for e in corpus.entries if e.split == "train"]
    note = f"tuned on {made.seconds:.0f} s of one speaker"
    fields = {"name": name, "training": f"{bundle.config.training}; {note}".strip("; ")}
    # another generator than the base's: other voices, too
    alone = dict.fromkeys((*BASE_FIELDS, "voices"), "")
    bundle.config = bundle.config.model_copy(update={**fields, **alone})
    bundle.save(made.folder)
    languages = {entry.language for entry in train}
    voice = Voice.heard(
        name, heard_by(bundle, voice_wave(corpus, train)), RATE, bundle, card=note,
        language=languages.pop() if len(languages) == 1 else "",
    )  # fmt: skip
    voice.save(made.folder / "voice.safetensors")


def clips_table(found: Harvest, reports: Sequence[ClipReport]) -> str:
    """Every clip with what was found of it and its text, to be proof-read; TSV. Correct the column `text`
    (empty: leave the clip out) and give the file back as --transcripts.
    """
    out = io.StringIO()
    writer = csv.writer(
        out,
        delimiter="\t",
        lineterminator="\n",
        quoting=csv.QUOTE_NONE,
        quotechar=None,
        escapechar="\\",
    )
    writer.writerow(
        "path text heard fit seconds snr_db clipping speaker mismatch duplicate_of remarks".split()
    )
    for piece, r in zip(found.slices, reports, strict=True):
        remarks = "; ".join([*r.faults, *r.notes])
        numbers = [
            r.seconds,
            round(r.snr_db, 1),
            round(r.clipping, 4),
            _short(r.speaker),
            _short(r.mismatch),
        ]
        writer.writerow(
            [piece.name, _line(piece.text), _line(piece.heard), "yes" if r.fit else "no", *numbers]
            + [r.duplicate_of, _line(remarks)]
        )
    return out.getvalue()


def _short(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def _line(text: str) -> str:
    return " ".join(text.split())


def _told(heard: Heard) -> str:
    near = ", ".join(f"{name} {value:.3f}" for name, value in heard.similarity.items())
    return f"similarity {near}; word errors {100 * heard.error:.1f} %"


def report(made: Outcome, name: str) -> str:
    """Markdown: the before/after table, then every clip."""
    kept = sum(r.fit for r in made.reports)
    lines = [
        f"# {name}",
        "",
        f"Learnt from {made.seconds:.1f} s of speech; {kept} of {len(made.reports)} clips were fit.",
    ]
    if made.before and made.after:
        judges = list(made.before.similarity)
        lines += ["", "| | word errors % | " + " | ".join(f"similarity {j}" for j in judges) + " |"]
        lines.append("|" + "---|" * (2 + len(judges)))
        for when, heard in (("before (zero-shot)", made.before), ("after", made.after)):
            near = " | ".join(f"{heard.similarity[j]:.3f}" for j in judges)
            lines.append(f"| {when} | {100 * heard.error:.1f} | {near} |")
        same = " | ".join(f"{made.same.get(j, NAN):.3f}" for j in judges)
        lines += [f"| the speaker's own recordings | | {same} |", ""]
        lines.append(f"{made.after.texts} texts not learnt from. Listen: `samples/`.")
    if made.problems:
        lines += ["", "## Not used", "", *(f"- {problem}" for problem in made.problems)]
    lines += ["", "## Clips", "", "| clip | s | SNR dB | fit | remarks |", "|---|---|---|---|---|"]
    for r in made.reports:
        remarks = "; ".join([*r.faults, *r.notes])
        lines.append(
            f"| {r.name} | {r.seconds:.1f} | {r.snr_db:.0f} | {'yes' if r.fit else '**no**'} | {remarks} |"
        )
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
