"""How fast do the published models run on a CPU, and what does each means cost in quality?

    python benchmarks/family_speed.py                 # two threads, 10 s of speech, v2 and v2ProPlus
    python benchmarks/family_speed.py --quick         # v2, 2 s of speech
    python benchmarks/family_speed.py --json out.json
    python benchmarks/family_speed.py --clock cpu     # on a machine that is shared

The weights are the repeatable random ones of ../shared/parity (or VOXRAY_PARITY); speed does not
depend on their values. `plain` is the same model in eager float32 as the published code runs it: weight
normalisation computed in every pass, the cache concatenated at every step. Quality is measured against
float32: top-1 agreement under teacher forcing (on the random weights, and on the built-in model's trained
ones) and log-spectral distance of the sound. `--clock cpu` counts the processor's seconds of one thread in
place of the clock on the wall: its ratios hold while others use the machine, its absolute figures are
those of one core. Exit code 1: a goal was missed; 2: it could not be run.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from family_memory import memories
from family_models import KIND, PARITY, bundle_of, exactly, random_voice, settings_of  # noqa: E402
from quality import RESULTS, facts_of_run  # noqa: E402

from voxray import assembly, job, pacing  # noqa: E402
from voxray import pipeline as pipeline_module  # noqa: E402
from voxray.bundle import Bundle  # noqa: E402
from voxray.models import gpt as gpt_module  # noqa: E402
from voxray.models.attention import KVCache  # noqa: E402
from voxray.models.gpt import GPT  # noqa: E402
from voxray.models.packed_conv import multiplies_bf16  # noqa: E402
from voxray.pipeline import Pipeline, SynthesisOptions  # noqa: E402
from voxray.voice import Voice  # noqa: E402

TEXTS = {
    "en": "The lighthouse keeper climbed the stairs every evening, lit the lamp, and wrote down the "
    "ships that passed before it grew dark.",
    "zh": "灯塔的看守人每天傍晚走上楼梯，点亮灯火，把天黑以前经过的船只一一记在本子上。",
}
GOALS = {  # figure: (bound, at most)
    "v2 end to end, RTF": (0.3, True),
    "v2proplus end to end, RTF": (0.6, True),
    "v2 times faster than plain": (4.0, False),
    "v2proplus times faster than plain": (4.0, False),
    "s1 tokens/s": (200.0, False),
    "v2 peak memory with encoders [GB]": (1.5, True),
    "first audio of a stream [s]": (1.0, True),
    "mini top-1 agreement, default [%]": (99.0, False),
}
DEFAULT = "fast"
FAST = ("fast", "int8")
FLOOR_DB = -80.0
APART = "\n# Measured apart"  # where hand-made tables begin
STEPS = 100  # of the token loop, each time


class Clock:
    """Reads the clock on the wall, or the processor's seconds of this process."""

    now: Callable[[], float] = staticmethod(time.perf_counter)

    @classmethod
    def use(cls, kind: str) -> None:
        """`wall` or `cpu`, for the stages of the pipeline as well."""
        cls.now = staticmethod({"wall": time.perf_counter, "cpu": time.process_time}[kind])
        for module in (assembly, job, pacing, pipeline_module):
            module.time = SimpleNamespace(perf_counter=cls.now)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Run:
    """One text said by one model in one setting."""

    version: str
    setting: str
    language: str
    seconds: float  # of audio
    rtf: float
    tokens_per_second: float
    sound_rtf: float
    first_audio: float | None
    stream_distance: float | None  # dB, to the whole


class Concatenated(KVCache):
    """A cache that grows by concatenation, as in the published code."""

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if layer == len(self.keys):
            self.keys.append(key)
            self.values.append(value)
        else:
            self.keys[layer] = torch.cat([self.keys[layer], key], dim=2)
            self.values[layer] = torch.cat([self.values[layer], value], dim=2)
        return self.keys[layer], self.values[layer]


@contextmanager
def cache_of(kind: type[KVCache]) -> Iterator[None]:
    """GPTs make caches of this class inside."""
    gpt_module.KVCache = kind  # type: ignore[misc]
    try:
        yield
    finally:
        gpt_module.KVCache = KVCache  # type: ignore[misc]


def said(bundle: Bundle, text: str, language: str, tokens: int, *, exact: bool) -> Run:
    """Exactly `tokens` tokens of a text, whole; then, unless `exact`, as a stream."""
    voice, options = random_voice(bundle), exactly(tokens, language)
    pipeline = Pipeline(bundle, bundle.text_pipeline())
    pipeline.text(text, language)  # dictionaries are read once
    with cache_of(Concatenated if is_normed(bundle) else KVCache):
        made = pipeline.synthesise(text, voice, options)
        stream = None if exact else pipeline.stream(text, voice, options)
        began = Clock.now()
        chunks = [] if stream is None else [next(stream)]
        first = Clock.now() - began
        chunks += [] if stream is None else list(stream)
    distance = None if exact else chunk_distance(np.concatenate(chunks), made.audio)
    seconds = len(made.tokens) / 25
    return Run(
        bundle.config.version,
        "",
        language,
        seconds,
        made.timings["total"] / seconds,
        len(made.tokens) / made.timings["tokens"],
        made.timings["audio"] / seconds,
        None if stream is None else first,
        distance,
    )


def is_normed(bundle: Bundle) -> bool:
    """Whether weight normalisation is computed in every pass: the plain form."""
    return any(".parametrizations." in name for name in bundle.generator.state_dict())


def chunk_distance(streamed: np.ndarray, whole: np.ndarray) -> float:
    """Log-spectral distance of a stream to the same speech made at once."""
    size = min(len(streamed), len(whole))
    return spectral_distance(torch.from_numpy(streamed[:size]), torch.from_numpy(whole[:size]))


def end_to_end(version: str, tokens: int, languages: list[str], repeats: int) -> list[Run]:
    """Every setting in turn, v2's default the best of `repeats`: what disturbs can only slow down."""
    runs = []
    every = ("plain", "float32", "fast", "int8")
    for setting in every if version == "v2" else ("plain", DEFAULT):
        bundle = bundle_of(version, setting)
        times = repeats if (version, setting) == ("v2", DEFAULT) else 1
        for language in languages if setting != "float32" else languages[:1]:
            tries = [
                said(bundle, TEXTS[language], language, tokens, exact=setting not in FAST)
                for _ in range(times)
            ]
            best = min(tries, key=lambda run: run.rtf)
            runs.append(Run(**{**asdict(best), "setting": setting}))
            print(_line(runs[-1]), flush=True)
    return runs


def _line(run: Run) -> str:
    first = "" if run.first_audio is None else f"{run.first_audio:.2f}"
    far = "" if run.stream_distance is None else f"{run.stream_distance:.2f}"
    return (
        f"| {run.version} | {run.setting} | {run.language} | {run.seconds:.0f} | {run.rtf:.3f} | "
        f"{run.tokens_per_second:.0f} | {run.sound_rtf:.3f} | {first} | {far} |"
    )


def timed(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest of `repeats` calls, after one to warm up."""
    call()
    spans = []
    for _ in range(repeats):
        began = Clock.now()
        call()
        spans.append(Clock.now() - began)
    return min(spans)


@torch.inference_mode()
def token_means(steps: int, repeats: int) -> list[tuple[str, float]]:
    """Milliseconds a token of the bare GPT step behind 150 positions, one means at a time."""
    rows = []
    for name, setting, cache in (
        ("float32, cache concatenated", "plain", Concatenated),
        ("float32, cache allocated ahead", "float32", KVCache),
        *([("bf16 throughout", "bf16", KVCache)] if multiplies_bf16() else []),
        ("fp16 weights, float32 sums (fast)", "fast", KVCache),
        ("int8 weights and inputs (int8)", "int8", KVCache),
    ):
        gpt = bundle_of("v2", setting).gpt
        with cache_of(cache):
            spent = timed(lambda gpt=gpt: _steps(gpt, steps), repeats)
            spent -= timed(lambda gpt=gpt: _steps(gpt, 0), repeats)
        rows.append((name, 1000 * spent / steps))
    return rows


def _steps(gpt: GPT, steps: int) -> None:
    text = torch.arange(100)[None]
    _, cache = gpt.prefill(text, torch.tensor([100]), torch.arange(50)[None])
    for step in range(steps):
        gpt.step(torch.tensor([step]), cache)


@torch.inference_mode()
def sound_means(tokens: int, repeats: int) -> list[tuple[str, float, float]]:
    """RTF of the v2 sound stage and its log-spectral distance to float32, one means at a time."""
    rows, exact = [], None
    for name, setting in (
        ("float32, weight norm in every pass", "plain"),
        ("float32, weight norm folded", "float32"),
        (f"decoder packed in {KIND} (fast, int8)", "fast"),
    ):
        generator = bundle_of("v2", setting).generator
        dice = torch.Generator().manual_seed(2)
        codes = torch.randint(1024, (1, tokens), generator=dice)
        text = torch.randint(1, 300, (1, 80), generator=dice)
        speaker = torch.randn(1, 512, generator=dice) / 10
        noise = torch.randn(1, 192, 2 * tokens, generator=dice)

        def run(generator: Any = generator, codes: Tensor = codes, text: Tensor = text,
                speaker: Tensor = speaker, noise: Tensor = noise) -> Tensor:  # fmt: skip
            return generator.decode(codes, text, speaker, noise).audio[0]

        wave = run()
        exact = wave if exact is None else exact
        rows.append((name, timed(run, repeats) / (tokens / 25), spectral_distance(wave, exact)))
    return rows


def spectral_distance(wave: Tensor, exact: Tensor) -> float:
    """Log-spectral distance in dB between two waves [N]; what lies 80 dB below the peak is floor."""
    window = torch.hann_window(2048)
    levels = []
    for one in (wave, exact):
        size = torch.stft(one, 2048, 512, window=window, return_complex=True).abs()
        levels.append(20 * size.clamp_min(1e-12).log10())
    floor = levels[1].max() + FLOOR_DB
    difference = levels[0].maximum(floor) - levels[1].maximum(floor)
    return float(difference.square().mean(0).sqrt().mean())


@torch.inference_mode()
def agreement(tokens: int) -> list[tuple[str, str, int, float]]:
    """Positions whose best token is float32's, teacher-forced [%]: random weights, trained ones."""
    rows = []
    dice = torch.Generator().manual_seed(3)
    text = torch.randint(1, 300, (1, 80), generator=dice)
    codes = torch.randint(1024, (1, tokens), generator=dice)
    cases = {"v2, random weights": [(text, codes)], "mini, trained weights": _spoken(tokens)}
    for name, pairs in cases.items():
        version = name.partition(",")[0]
        exact = bundle_of(version, "float32").gpt
        wanted = [_best(exact, *pair) for pair in pairs]
        for setting in ("fast", "int8"):
            gpt = bundle_of(version, setting).gpt
            same = [(_best(gpt, *pair) == best) for pair, best in zip(pairs, wanted, strict=True)]
            hits = torch.cat(same)
            rows.append((name, setting, len(hits), 100 * float(hits.float().mean())))
    return rows


def _best(gpt: GPT, text: Tensor, codes: Tensor) -> Tensor:
    return gpt(text, torch.tensor([text.shape[1]]), codes)[0].argmax(-1)


def _spoken(limit: int) -> list[tuple[Tensor, Tensor]]:
    """Texts and the tokens that the built-in model says them with."""
    try:
        bundle = Bundle.builtin()
    except FileNotFoundError:
        return []
    pipeline = Pipeline(bundle, bundle.text_pipeline())
    voice = Voice("any", torch.zeros(bundle.generator.config.speaker.speaker_width))
    pairs = []
    for language, text in TEXTS.items():
        options = SynthesisOptions(language=language, seed=1, max_tokens=limit)
        made = pipeline.synthesise(text, voice, options)
        pairs.append((torch.tensor([made.phonemes.ids]), torch.from_numpy(made.tokens)[None]))
    return pairs


def figures(
    runs: list[Run], held: dict[str, float], agreed: list[tuple[str, str, int, float]]
) -> dict[str, float]:
    """What stands beside the goals: the slower language, the default setting."""
    found: dict[str, float] = {}
    for version in dict.fromkeys(run.version for run in runs):
        mine = [run for run in runs if run.version == version]
        default = [run for run in mine if run.setting == DEFAULT]
        plain = {run.language: run.rtf for run in mine if run.setting == "plain"}
        found[f"{version} end to end, RTF"] = max(run.rtf for run in default)
        found[f"{version} times faster than plain"] = min(
            plain[run.language] / run.rtf for run in default
        )
    default = [run for run in runs if run.setting == DEFAULT]
    found["s1 tokens/s"] = min(run.tokens_per_second for run in default)
    found["first audio of a stream [s]"] = max(run.first_audio or 0.0 for run in default)
    if "v2, HuBERT and RoBERTa loaded" in held:
        found["v2 peak memory with encoders [GB]"] = held["v2, HuBERT and RoBERTa loaded"]
    for name, setting, _, share in agreed:
        if name.startswith("mini") and setting == DEFAULT:
            found["mini top-1 agreement, default [%]"] = share
    return found


def page(
    facts: dict[str, str],
    found: dict[str, float],
    tables: dict[str, list[str]],
) -> tuple[str, int]:
    """The page of tables, and how many goals were missed."""
    lines = ["# Speed of the published models", ""]
    lines += [f"- {name}: {fact}" for name, fact in facts.items()]
    lines += ["", "| measure | figure | goal | met |", "|---|---|---|---|"]
    missed = 0
    for name, (bound, most) in GOALS.items():
        if name not in found:
            lines.append(f"| {name} | not measured | {'<=' if most else '>='} {bound:g} | - |")
            continue
        met = found[name] <= bound if most else found[name] >= bound
        missed += not met
        lines.append(
            f"| {name} | {found[name]:.3g} | {'<=' if most else '>='} {bound:g} | "
            f"{'yes' if met else '**no**'} |"
        )
    for title, rows in tables.items():
        lines += ["", f"## {title}", "", *rows]
    return "\n".join(lines) + "\n", missed


def measured_apart(page: Path) -> str:
    """What a page holds besides the benchmark's tables; it stays."""
    old = page.read_text(encoding="utf-8") if page.is_file() else ""
    _, mark, rest = old.partition(APART)
    return mark + rest


def facts_of(threads: int, clock: str, note: str, load_before: float) -> dict[str, str]:
    """What stands above the tables."""
    facts = {k: v for k, v in facts_of_run().items() if k != "judges"}
    facts["threads"] = str(threads)
    facts["clock"] = "on the wall" if clock == "wall" else "processor seconds of one thread"
    facts["load of the machine before and after"] = (
        f"{load_before:.1f}, {os.getloadavg()[0]:.1f} (quiet: 0, ours: {threads})"
    )
    facts["weights"] = "repeatable random ones of the recorded cases"
    if note:
        facts["note"] = note
    return facts


def tables_of(
    runs: list[Run],
    steps: list[tuple[str, float]],
    sounds: list[tuple[str, float, float]],
    agreed: list[tuple[str, str, int, float]],
    held: dict[str, float],
) -> dict[str, list[str]]:
    """The rows under each title."""
    return {
        "End to end": [
            "| model | setting | text | audio [s] | RTF | tokens/s | sound RTF | first audio [s] "
            "| stream to whole [dB] |",
            "|---|---|---|---|---|---|---|---|---|",
            *map(_line, runs),
        ],
        "Token loop, one means at a time (v2, the bare step)": [
            "| means | ms a token | times |",
            "|---|---|---|",
            *(f"| {name} | {spent:.2f} | {steps[0][1] / spent:.1f} |" for name, spent in steps),
        ],
        "Sound stage, one means at a time (v2)": [
            "| means | RTF | times | log-spectral distance [dB] |",
            "|---|---|---|---|",
            *(
                f"| {name} | {rtf:.3f} | {sounds[0][1] / rtf:.1f} | {far:.2f} |"
                for name, rtf, far in sounds
            ),
        ],
        "Teacher-forced top-1 agreement with float32": [
            "| weights | setting | positions | agreement [%] |",
            "|---|---|---|---|",
            *(f"| {name} | {kind} | {n} | {share:.2f} |" for name, kind, n, share in agreed),
        ],
        "Peak memory of a process": [
            "| what | GB |",
            "|---|---|",
            *(f"| {name} | {gigabytes:.2f} |" for name, gigabytes in held.items()),
        ],
        "Settings": [f"- {name}: {what}" for name, what in settings_of().items()],
    }


def main(
    quick: Annotated[bool, typer.Option("--quick", help="v2 only, 2 s of speech.")] = False,
    out: Annotated[Path | None, typer.Option("--json", help="All figures.")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    seconds: Annotated[float, typer.Option(help="Of speech, each time.")] = 10.0,
    clock: Annotated[str, typer.Option(help="wall or cpu (then one thread).")] = "wall",
    note: Annotated[str, typer.Option(help="A remark for the table (other load).")] = "",
) -> None:
    """Measure speed, memory and what they cost."""
    if clock not in ("wall", "cpu"):
        raise ValueError(f"the clock is {clock!r}; choose wall or cpu")
    threads = 1 if clock == "cpu" else threads
    torch.set_num_threads(threads)
    Clock.use(clock)
    if not PARITY.is_dir():
        raise FileNotFoundError(f"{PARITY} is not here: name it in VOXRAY_PARITY")
    load_before = os.getloadavg()[0]
    tokens, repeats = (50, 1) if quick else (round(25 * seconds), 2)
    # One version's weights are kept at a time: v2 first, with all that is measured of it alone.
    runs = end_to_end("v2", tokens, ["en", "zh"], repeats)
    steps = token_means(min(tokens, STEPS), repeats)
    sounds = sound_means(tokens, 1)
    agreed = agreement(tokens)
    held = memories(quick)
    if not quick:
        runs += end_to_end("v2proplus", tokens, ["en", "zh"], repeats)
    facts = facts_of(threads, clock, note, load_before)
    found = figures(runs, held, agreed)
    tables = tables_of(runs, steps, sounds, agreed, held)
    text, missed = page(facts, found, tables)
    print(text)
    if not quick:
        RESULTS.mkdir(parents=True, exist_ok=True)
        target = RESULTS / "family_speed.md"
        target.write_text(text + measured_apart(target), encoding="utf-8")
    if out is not None:
        record = {"facts": facts, "figures": found, "runs": [asdict(run) for run in runs]}
        out.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
    if missed:
        print(f"{missed} goals missed")
        raise typer.Exit(1)


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"family_speed: {error}\n")
        sys.exit(2)
