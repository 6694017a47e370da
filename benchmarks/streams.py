"""How far is a stream of a published model from the same speech made at once?

    python benchmarks/streams.py                # v2 and v2ProPlus, 4 s of speech
    python benchmarks/streams.py --tokens 60

Repeatable random weights (../shared/parity or VOXRAY_PARITY), the same tokens in both. `equal` makes a
sentence's tokens first and then sounds it chunk by chunk: it must be the whole within `TOLERANCE`. `early`
sounds while tokens are made: attention in the prior runs both ways, so a chunk that has not read the rest
differs; how much on trained weights is shown by the built-in model's prior, which is of the same class.
Processor seconds of one thread, good for ratios in a row only. Exit code 1: a tolerance was missed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

sys.path.insert(0, str(Path(__file__).parent))
from family_models import bundle_of  # noqa: E402
from family_speed import TEXTS, chunk_distance  # noqa: E402
from quality import RESULTS, facts_of_run  # noqa: E402

from voxray import pacing  # noqa: E402
from voxray.bundle import Bundle  # noqa: E402
from voxray.engine import check_options  # noqa: E402
from voxray.models.generator import Generator  # noqa: E402
from voxray.pipeline import Pipeline  # noqa: E402
from voxray.voice import Voice, builtin_names  # noqa: E402

CASES = (  # model, setting, tokens of the first chunk, speed
    ("v2", "float32", 20, 1.0),
    ("v2", "float32", 10, 1.0),
    ("v2", "float32", 40, 1.0),
    ("v2", "float32", 20, 1.25),
    ("v2", "fast", 20, 1.0),
    ("v2proplus", "fast", 20, 1.0),
)
TOLERANCE = {"float32": (1e-5, 0.01), "fast": (0.03, 0.5)}  # largest error; dB
READ = (24, 44, 64, 104)  # tokens that a prior has read


@dataclass(frozen=True)
class Row:
    """One stream against the whole."""

    model: str
    setting: str
    first: int
    speed: float
    way: str
    chunks: int
    distance: float  # dB
    largest: float
    relative: float
    before: float  # processor seconds to the first sound
    total: float
    whole: float

    @property
    def verdict(self) -> str:
        """Whether an equal stream is equal."""
        if self.way != "equal":
            return ""
        largest, distance = TOLERANCE[self.setting]
        return "yes" if self.largest <= largest and self.distance <= distance else "**no**"

    def line(self) -> str:
        """A row of the table."""
        return (
            f"| {self.model} | {self.setting} | {self.first} | {self.speed:g} | {self.way} | {self.chunks} | "
            f"{self.distance:.3f} | {self.largest:.1e} | {self.relative:.1e} | {self.before:.2f} | "
            f"{self.total:.2f} | {self.whole:.2f} | {self.verdict} |"
        )


def rows(model: str, setting: str, first: int, speed: float, tokens: int) -> Iterator[Row]:
    """Both ways of one case."""
    bundle = bundle_of(model, setting)
    width = bundle.generator.config.speaker.speaker_width
    voice = Voice("random", torch.randn(width, generator=torch.Generator().manual_seed(1)) / 10)
    pipeline = Pipeline(bundle, bundle.text_pipeline())
    given = {"language": "en", "seed": 1, "floor": tokens, "max_tokens": tokens, "speed": speed}
    pipeline.synthesise(TEXTS["en"], voice, check_options({**given, "max_tokens": 12}))  # warm
    pacing.FIRST_CHUNK = first
    began = time.process_time()
    whole = pipeline.synthesise(TEXTS["en"], voice, check_options(given))
    at_once = time.process_time() - began
    for way in ("early", "equal"):
        began = time.process_time()
        stream = pipeline.stream(TEXTS["en"], voice, check_options({**given, "stream": way}))
        chunks = [next(stream)]
        before = time.process_time() - began
        chunks += list(stream)
        spent = time.process_time() - began
        made = np.concatenate(chunks)
        if len(made) != len(whole.audio) or not np.array_equal(
            stream.synthesis.tokens, whole.tokens
        ):
            raise ValueError(f"{model}, {setting}, {way}: the stream says something else")
        error = made - whole.audio
        relative = float(np.linalg.norm(error) / np.linalg.norm(whole.audio))
        distance = chunk_distance(made, whole.audio)
        yield Row(
            model, setting, first, speed, way, len(chunks), distance, float(abs(error).max()),
            relative, before, spent, at_once,
        )  # fmt: skip


@torch.inference_mode()
def trained() -> Iterator[tuple[str, int, float]]:
    """Language, tokens read, how far the newest second's means move as the rest is read, in deviations."""
    bundle = Bundle.builtin()
    pipeline, generator = Pipeline(bundle, bundle.text_pipeline()), bundle.generator
    assert isinstance(generator, Generator)
    for language, text in TEXTS.items():
        voice = next(v for v in map(Voice.builtin, builtin_names()) if v.language == language)
        made = pipeline.synthesise(text, voice, check_options({"language": language, "seed": 1}))
        tokens, path = (torch.from_numpy(x)[None] for x in (made.tokens, made.alignment))
        phonemes = torch.tensor([made.phonemes.ids])
        told = (phonemes, torch.tensor([phonemes.shape[1]]), voice.speaker[None, :, None])
        heard = generator.heard(voice.memory)

        def read(count: int, tokens=tokens, path=path, told=told, heard=heard):  # noqa: ANN001, ANN202
            pointer = path[:, :count].repeat_interleave(2, dim=1)
            features = generator.features(tokens[:, :count])
            lengths = torch.tensor([2 * count])
            return generator.prior(features, lengths, *told, pointer=pointer, heard=heard)

        exact = read(tokens.shape[1])
        for count in READ:
            frames = slice(max(0, 2 * count - 58), 2 * count - 8)  # look-ahead left out
            moved = read(count).mean[:, :, frames] - exact.mean[:, :, frames]
            spread = exact.log_std[:, :, frames].exp()
            yield language, count, float(moved.norm() / spread.norm())


def page(found: list[Row], moved: list[tuple[str, int, float]], tokens: int) -> str:
    """The committed table."""
    facts = facts_of_run()
    facts.pop("judges")
    lines = ["# Streams of the published models against the whole", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += [
        f"- {tokens} tokens of one English sentence, random weights; other processes may have run beside it",
        "",
        "Tolerance of `equal`: "
        + "; ".join(f"{k}: largest error {a:g}, {d:g} dB" for k, (a, d) in TOLERANCE.items())
        + " (bf16 rounds a latent that differs by 5e-6 to another neighbour).",
        "",
        "| model | setting | first chunk [tokens] | speed | stream | chunks | log-spectral distance [dB] | "
        "largest error | relative L2 | first sound [s] | all [s] | whole [s] | within |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(row.line() for row in found),
        "",
        "Seconds: of the processor, one thread. `early` differs because the prior's attention runs both ways and random weights",
        "attend to everything alike. On trained weights (the built-in model, same class) the means of a chunk move by this part of",
        "their deviation once the rest of the sentence has been read:",
        "",
        "| text | tokens read | means move by [deviations] |",
        "|---|---|---|",
        *(f"| {language} | {count} | {part:.3f} |" for language, count, part in moved),
        "",
    ]
    return "\n".join(lines)


def main(
    tokens: Annotated[int, typer.Option(help="Of the sentence; 25 are a second.")] = 100,
) -> None:
    """Measure all cases; see the file's head."""
    torch.set_num_threads(1)
    found: list[Row] = []
    for model, setting, first, speed in CASES:
        for row in rows(model, setting, first, speed, tokens):
            found.append(row)
            print(row.line(), flush=True)
    text = page(found, list(trained()), tokens)
    print(text)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "streams.md").write_text(text, encoding="utf-8")
    if any("no" in row.verdict for row in found):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
