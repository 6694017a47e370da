"""With little speech, is a model without quantisation less stable? Bypass on and off, all else equal.

    python benchmarks/vq_ablation.py --quick          # one speaker, 20 s, one seed: does it run
    python benchmarks/vq_ablation.py --json out.json --keep DIR  # 10/20/30/60 s, 5 seeds, 3 speakers: 120 runs
    python benchmarks/vq_ablation.py --keep DIR --seeds 7 --json out.json  # goes on with two more seeds

Both arms start from the same weights and see the same batches; the generator is tuned on `seconds` of one
speaker, then says the held-out recordings from their own units. Quantised: the code of each token. Bypass: the
unquantised vector of each token, as a codebook with an entry a token. The weights of the last step are measured:
nothing is chosen by a check. Measured: similarity, its drift over the clip (last third against first), deviation
of F0 (octaves) and of F1, F2 (%) from the recording, word errors; differences are paired by speaker, length and
seed, with 95 % bootstrap intervals. The answer is printed as it is. The speakers are those with most speech.

What it cannot say: the weights both arms start from were trained on quantised units, so the bypass begins off
its distribution and has that to unlearn as well. `--start DIR` takes a model trained without quantisation for it.
"""

from __future__ import annotations

import copy
import itertools
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import comparing
import numpy as np
import parselmouth
import torch
import typer
from torch import Tensor

from voxray import audio
from voxray.bundle import MEMORY_SECONDS, Bundle
from voxray.evaluate import metrics
from voxray.evaluate.fewshot import voice_wave
from voxray.evaluate.named import NamedJudges
from voxray.models.memory import Memory
from voxray.packaged import BUILTIN
from voxray.sampling import normal_noise
from voxray.train.label import read_labels
from voxray.train.slices import Slice
from voxray.train.store import RATE, Entry, Store
from voxray.train.training_file import training_parts
from voxray.train.tuning import Tuning, tune
from voxray.train.voice_store import write_store

LEAST_PAIRS = 6
SECONDS, SEEDS, SPEAKERS = (10, 20, 30, 60), 5, 3
LITTLE = 30  # s: "below 30 s of data"
HELD = 3  # recordings said again
MEASURES = ("similarity", "drift", "f0", "formants", "error")
LOWER_IS_BETTER = {"similarity": False, "drift": True, "f0": True, "formants": True, "error": True}


@dataclass(frozen=True)
class Row:
    """One run. `similarity` is the judges' mean, `error` in percent."""

    speaker: str
    seconds: float
    seed: int
    bypass: bool
    similarity: float
    drift: float
    f0: float
    formants: float
    error: float


def slices(pairs: list[tuple[np.ndarray, str]], name: str) -> list[Slice]:
    """Waves and texts as slices."""
    return [
        Slice(f"{name}{n}", Path(f"{name}{n}.wav"), 0.0, wave, 16_000, text, given=True)
        for n, (wave, text) in enumerate(pairs)
    ]


def unquantised(bundle: Bundle, store: Path) -> None:
    """Give every token of a store an entry of its own: its vector before the quantiser."""
    corpus = Store(store)
    rows = []
    with torch.inference_mode():
        for entry in corpus.entries:
            heard = torch.from_numpy(audio.resample(corpus.audio(entry), RATE, 16_000))
            vectors = bundle.quantiser.project(bundle.features(heard))[0].float()  # [S, C]
            count = entry.samples // 960
            missing = max(0, count - len(vectors))
            rows.append(torch.cat([vectors, vectors[-1:].expand(missing, -1)])[:count])
    table = torch.cat(rows).clone()
    if len(table) > 32_000:
        raise ValueError("too much speech for an entry a token")
    np.arange(len(table), dtype=np.int16).tofile(store / "tokens.i16")
    np.save(store / "codebook.npy", table.numpy())
    bundle.generator.codebook = table


def codes_of(tokens: np.ndarray, entry: Entry) -> np.ndarray:
    """The units [S] of a clip of the store, of whatever codebook."""
    first = entry.start // 960
    return tokens[first : first + entry.samples // 960].astype(np.int64)


def remembered(bundle: Bundle, wave: np.ndarray, units: np.ndarray, speaker: Tensor) -> Memory:
    """The reference's frames with the store's own units: those of the bypass have another codebook."""
    heard = wave[: MEMORY_SECONDS * RATE]
    latents = bundle.latents(heard * audio.speech_gain(heard))
    count = min(len(units), latents.shape[2] // 2)
    memory = Memory(torch.from_numpy(units[None, :count]), latents[..., : 2 * count].clone())
    with torch.inference_mode():
        return bundle.generator.calibrated(memory, speaker[None], bundle.silent_text[0])


def held_waves(bundle: Bundle, store: Path, seed: int) -> list[tuple[np.ndarray, np.ndarray, str]]:
    """(made, recording, text) at 16 kHz of every held-out clip, said from its own units."""
    corpus, labels = Store(store), read_labels(store)
    tokens = corpus.array("tokens.i16", "int16", 960)
    train = [e for e in corpus.entries if e.split == "train"]
    wave = voice_wave(corpus, train)
    speaker = bundle.speaker_vector(wave, RATE)
    units = np.concatenate([codes_of(tokens, e) for e in train])
    memory = remembered(bundle, wave, units, speaker)
    made = []
    for entry in corpus.entries:
        if entry.split != "dev":
            continue
        count = entry.samples // 960
        part = torch.from_numpy(codes_of(tokens, entry))[None]
        label = labels[entry.name]
        pointer = torch.zeros(1, count, dtype=torch.long)
        for place, (start, end) in enumerate(label.spans):
            pointer[0, start // 2 : (end + 1) // 2] = place
        noise = normal_noise(seed, bundle.generator.config.noise_channels, 2 * count)
        with torch.inference_mode():
            out = bundle.generator.decode(
                part,
                torch.from_numpy(label.ids)[None],
                speaker[None],
                noise,
                pointer=pointer,
                memory=memory,
            )
        wave = audio.resample(out.audio[0].float().numpy(), RATE, 16_000)
        real = audio.resample(corpus.audio(entry), RATE, 16_000)
        made.append((wave, real, entry.text))
    return made


def formants(wave: np.ndarray) -> np.ndarray:
    """F1 and F2 [T, 2] every 20 ms, nan where there are none."""
    sound = parselmouth.Sound(wave.astype(np.float64), 16_000)
    found = sound.to_formant_burg(time_step=0.02, maximum_formant=5500.0)
    times = np.arange(0.03, len(wave) / 16_000 - 0.03, 0.02)
    return np.array([[found.get_value_at_time(k, t) for k in (1, 2)] for t in times])


def figures(
    made: list[tuple[np.ndarray, np.ndarray, str]], judges: NamedJudges, ear: comparing.Ear
) -> dict[str, float]:
    """All measures of one run, means over the held-out clips."""
    judged = comparing.judge([m[0] for m in made], [(m[2], "en") for m in made], judges, ear)
    drift, pitch, shape = [], [], []
    for wave, real, _ in made:
        third = len(wave) // 3
        if third >= 16_000 // 2:
            near = [
                np.mean([metrics.cosine(j(w), ear.target[j.name]) for j in judges.speakers])
                for w in (wave[:third], wave[-third:])
            ]
            drift.append(abs(float(near[1] - near[0])))
        ours, theirs = (np.asarray(audio.f0(w, 16_000, 0.02)) for w in (wave, real))
        size = min(len(ours), len(theirs))
        both = (ours[:size] > 0) & (theirs[:size] > 0)
        if both.any():
            pitch.append(float(np.abs(np.log2(ours[:size][both] / theirs[:size][both])).mean()))
        one, other = formants(wave), formants(real)
        size = min(len(one), len(other))
        with np.errstate(invalid="ignore"):
            shape.append(float(100 * np.nanmean(np.abs(one[:size] / other[:size] - 1))))
    return {
        "similarity": float(np.mean(list(judged.mean_similarity.values()))),
        "drift": float(np.mean(drift)) if drift else float("nan"),
        "f0": float(np.mean(pitch)) if pitch else float("nan"),
        "formants": float(np.mean(shape)),
        "error": judged.error,
    }


@dataclass(frozen=True)
class Arm:
    """A model to start from: with the quantiser, or past it."""

    bypass: bool
    home: Path
    bundle: Bundle


def prepared(
    arm: Arm, bundle: Bundle, person: comparing.Person, seconds: float, folder: Path
) -> Path:  # fmt: skip
    """The store of one speaker and length, made once for all seeds; the bundle knows its codebook."""
    store = (
        folder / f"{person.name.replace('/', '-')}-{seconds}-{'bypass' if arm.bypass else 'codes'}"
    )
    if not (store / "codebook.npy").is_file():
        shutil.rmtree(store, ignore_errors=True)
        held = [(clip.wave(), clip.text) for clip in person.held[:HELD]]
        train = comparing.up_to(person.train, seconds)
        readout = training_parts(arm.home, bundle)[1]
        write_store(store, bundle, slices(train, "t"), slices(held, "h"), readout)
        if arm.bypass:
            unquantised(bundle, store)
    if arm.bypass:
        bundle.generator.codebook = torch.from_numpy(np.load(store / "codebook.npy"))
    return store


def one(
    arm: Arm, person: comparing.Person, ear: comparing.Ear, seconds: float, seed: int,
    judges: NamedJudges, config: Tuning, folder: Path,
) -> Row:  # fmt: skip
    """Tune one arm and measure it as it is after the last step."""
    bundle = copy.deepcopy(arm.bundle)
    store = prepared(arm, bundle, person, seconds, folder)
    later = itertools.count()

    def last() -> dict[str, float]:
        return {"score": float(next(later))}  # no choice by any measure: the last weights stay

    with tempfile.TemporaryDirectory() as run:
        tune(
            bundle, store, Path(run), config.model_copy(update={"seed": seed}), only="generator",
            posterior=training_parts(arm.home, bundle)[0], check=last,
        )  # fmt: skip
    found = figures(held_waves(bundle, store, seed), judges, ear)
    return Row(person.name, seconds, seed, arm.bypass, **found)


def compared(rows: list[Row]) -> list[dict[str, Any]]:
    """Paired differences (bypass minus quantised) of every measure, for each length and all together."""
    made = []
    for seconds in [*sorted({row.seconds for row in rows}), None]:
        own = [row for row in rows if seconds in (None, row.seconds)]
        pairs: dict[tuple[str, float, int], dict[bool, Row]] = {}
        for row in own:
            pairs.setdefault((row.speaker, row.seconds, row.seed), {})[row.bypass] = row
        whole = [pair for pair in pairs.values() if len(pair) == 2]
        for name in MEASURES:
            kept, without = ([getattr(p[arm], name) for p in whole] for arm in (False, True))
            gap, low, high = comparing.paired(kept, without)
            made.append(
                {
                    "seconds": seconds, "measure": name, "pairs": len(whole),
                    "quantised": float(np.nanmean(kept)), "bypass": float(np.nanmean(without)),
                    "difference": gap, "low": low, "high": high,
                }
            )  # fmt: skip
    return made


def claim(rows: list[Row]) -> dict[str, Any]:
    """What decides "the quantiser steadies training below 30 s": how much more drift, and how many more word
    errors, there are without it, as shares of those with it; both must hold.
    """
    pairs = {(r.speaker, r.seconds, r.seed) for r in rows if r.seconds < LITTLE}
    named = {(r.speaker, r.seconds, r.seed, r.bypass): r for r in rows}
    whole = sorted(p for p in pairs if {(*p, True), (*p, False)} <= named.keys())
    made = {}
    for name in ("drift", "error"):
        kept, without = ([getattr(named[(*p, b)], name) for p in whole] for b in (False, True))
        mean = max(1e-9, float(np.nanmean(kept)))
        made[name] = comparing.interval(
            [(b - a) / mean for a, b in zip(kept, without, strict=True)]
        )
    return {"figure": made["drift"], "second": made["error"], "note": "drift, word errors"}


def answer(found: list[dict[str, Any]]) -> str:
    """What the intervals say, and no more."""
    lines = []
    for row in found:
        if row["seconds"] is not None:
            continue
        if row["pairs"] < LEAST_PAIRS:
            lines.append(f"- {row['measure']}: {row['pairs']} pairs, nothing can be said")
            continue
        worse = row["low"] > 0 if LOWER_IS_BETTER[row["measure"]] else row["high"] < 0
        better = row["high"] < 0 if LOWER_IS_BETTER[row["measure"]] else row["low"] > 0
        word = "worse" if worse else "better" if better else "not different"
        lines.append(
            f"- {row['measure']}: without quantisation {word} "
            f"({row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}], {row['pairs']} pairs)"
        )
    return "\n".join(lines)


def table(found: list[dict[str, Any]]) -> str:
    """Every length and measure."""
    lines = ["| s | measure | quantised | bypass | difference [95 %] | pairs |", "|" + "---|" * 6]
    for row in found:
        length = "all" if row["seconds"] is None else f"{row['seconds']:.0f}"
        lines.append(
            f"| {length} | {row['measure']} | {row['quantised']:.3f} | {row['bypass']:.3f} "
            f"| {row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}] | {row['pairs']} |"
        )
    return "\n".join(lines)


def picture(found: list[dict[str, Any]]) -> Any:
    """Differences against the length of speech, one panel a measure."""

    def plot(figure: Any) -> None:
        for n, name in enumerate(MEASURES, start=1):
            own = [r for r in found if r["measure"] == name and r["seconds"] is not None]
            axes = figure.add_subplot(
                2, 3, n, title=f"{name}: bypass - quantised", xlabel="s of speech"
            )
            middle = [r["difference"] for r in own]
            spread = [
                [r["difference"] - r["low"] for r in own], [r["high"] - r["difference"] for r in own]
            ]  # fmt: skip
            axes.errorbar([r["seconds"] for r in own], middle, spread, marker="o", capsize=3)
            axes.axhline(0.0, color="grey", linewidth=0.8)

    return plot


def everyone(shared: Path, most: int) -> list[comparing.Person]:
    """The speakers with most speech to learn from."""
    found = comparing.people(shared)
    return sorted(found, key=lambda p: -sum(clip.seconds for clip in p.train))[:most]


def main(
    quick: Annotated[bool, typer.Option("--quick", help="One speaker, 20 s, one seed.")] = False,
    out: Annotated[Path | None, typer.Option("--json", help="All figures.")] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Rows and stores, as they come; resumes.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="A model's folder.")] = None,
    start: Annotated[
        Path | None, typer.Option(help="A model trained without quantisation, for the bypass.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Of each run.")] = 120,
    rate: Annotated[float, typer.Option(help="Learning rate.")] = 2e-4,
    batch: Annotated[int, typer.Option(help="Segments of 1 s in a step.")] = 4,
    seeds: Annotated[int, typer.Option(help="How many.")] = SEEDS,
    share: Annotated[str, typer.Option(help="Of the speakers: 1/3.")] = "0/1",
    as_kept: Annotated[bool, typer.Option("--table", help="Of the rows kept so far.")] = False,
    shared: Annotated[Path, typer.Option(help="Folder with speech/.")] = comparing.SHARED,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
) -> None:
    """Run the experiment."""
    torch.set_num_threads(threads)
    home = model or BUILTIN / "mini"
    homes = {False: home, True: start or home}
    arms = [Arm(b, path, Bundle.load(path, precision="float32")) for b, path in homes.items()]
    judges = NamedJudges(threads=threads)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    persons, lengths = everyone(shared, 1 if quick else SPEAKERS), (20,) if quick else SECONDS
    heard = comparing.ears(persons, judges, keep and keep / "ears.json")
    config = Tuning(
        generator_steps=4 if quick else steps, check_every=1000, words=0.0, minutes=5.0,
        generator_rate=rate, batch=2 if quick else batch,
    )  # fmt: skip
    what = f"weights {comparing.weights_of(homes.values())}, {config.generator_steps} steps of {config.batch}, rate {rate}"
    kept = comparing.Kept(keep / "rows.jsonl" if keep else None, Row, what)
    persons = [] if as_kept else comparing.mine(share, persons)
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(1, 2 if quick else seeds + 1):
            for person, seconds, arm in itertools.product(persons, lengths, arms):
                where = {"speaker": person.name, "seconds": seconds, "seed": seed}
                if not kept.has(**where, bypass=arm.bypass):
                    ear, folder = heard[person.name], keep or Path(temporary)
                    print(kept(one(arm, person, ear, seconds, seed, judges, config, folder)))
    found = compared(kept.rows)
    parts = {"Answer": answer(found), "Figures": table(found)}
    record = {
        "rows": [asdict(row) for row in kept.rows], "differences": found,
        "weights": comparing.weights_of([home]), "quick": quick,
        "claims": {"The quantiser steadies training": claim(kept.rows)},
        "facts": {"what": what, "speakers": ", ".join(sorted({r.speaker for r in kept.rows}))},
    }  # fmt: skip
    comparing.finish(
        "Quantiser on or off", "vq_ablation", parts, record, out, quick, picture(found)
    )


if __name__ == "__main__":
    sys.exit(comparing.run(main, "vq_ablation"))
