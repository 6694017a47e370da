"""Run examples/01 to 08 and make docs/gallery.md: what each printed, and one small picture of what it found.

    python docs/make_gallery.py            # all of them: some minutes
    python docs/make_gallery.py 03 06      # some; the others stay as they are

Needs matplotlib (`pip install voxray[explain]`). Example 02 clones the voice of what example 01 said.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from voxray import audio

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"
PAGE = HERE / "gallery.md"
HOP_S = 0.01
HEAD = "# Gallery\n\nMade by `python docs/make_gallery.py` from the scripts in [examples](../examples).\n\n"
LINES = 12  # of what was printed
Found = dict[str, Any]


def wave(axes: Axes, found: Found) -> None:
    """01: the sound and its words."""
    speech = found["speech"]
    seconds = np.arange(len(speech.audio)) / speech.sample_rate
    axes.plot(seconds, speech.audio, linewidth=0.4)
    for word in speech.words:
        middle = (word.start_s + word.end_s) / 2
        axes.axvline(word.start_s, color="0.8", linewidth=0.8, zorder=0)
        axes.text(
            middle, 1.0, word.text, ha="center", fontsize=8, transform=axes.get_xaxis_transform()
        )
    axes.set(xlabel="seconds", yticks=[], xlim=(0, speech.seconds))


def clone(axes: Axes, found: Found) -> None:
    """02: mean spectra of the recording and of what is said in its voice."""
    for name, file in (("recording", sys.argv[1]), ("clone", "02_clone.wav")):
        samples, rate = audio.read_audio(file)
        frames = np.lib.stride_tricks.sliding_window_view(samples, 1024)[::512]
        level = 10 * np.log10((np.abs(np.fft.rfft(frames * np.hanning(1024))) ** 2).mean(0) + 1e-9)
        axes.plot(np.fft.rfftfreq(1024, 1 / rate) / 1000, level - level.max(), label=name)
    axes.set(xlabel="kHz", ylabel="dB", xlim=(0, 8), ylim=(-70, 3))
    axes.legend()


def attention(axes: Axes, found: Found) -> None:
    """03: what the tokens look at, in the best head."""
    heads = found["opened"].models.gpt.config.guided_heads or ((0, 0),)
    layer, head = heads[-1]
    axes.imshow(
        found["passage"].attention[layer, head].T, origin="lower", aspect="auto", cmap="magma"
    )
    axes.set_yticks(range(len(found["symbols"])), found["symbols"], fontsize=6)
    axes.set(xlabel=f"token, head {layer}.{head}", ylabel="phoneme")


def causes(axes: Axes, found: Found) -> None:
    """04: share of the event that goes with each cause."""
    if "answer" not in found:
        axes.text(0.5, 0.5, "nothing stands out", ha="center")
        return
    best = found["answer"].causes[:8][::-1]
    axes.barh([f"{cause.kind} {cause.name}"[:36] for cause in best], [100 * c.share for c in best])
    axes.set(xlabel="% of the event that goes with it")
    axes.tick_params(axis="y", labelsize=7)


def steered(axes: Axes, found: Found) -> None:
    """05: pitch as said and as steered."""
    for name in ("plain", "steered"):
        samples, rate = audio.read_audio(f"05_{name}.wav")
        f0 = audio.f0(samples, rate, HOP_S)
        axes.plot(HOP_S * np.arange(len(f0)), np.where(f0 > 0, f0, np.nan), label=name)
    axes.set(xlabel="seconds", ylabel="Hz")
    axes.legend()


def heads(axes: Axes, found: Found) -> None:
    """06: tokens that change without each head."""
    config = found["models"].gpt.config
    table = np.zeros((config.n_layer, config.n_head))
    for name, share in found["changed"].items():
        layer, head = map(int, name.split("."))
        table[layer, head] = 100 * share
    image = axes.imshow(table, cmap="viridis", aspect="auto", vmin=0, vmax=100)
    axes.figure.colorbar(image, label="% of the tokens that change")
    axes.set(xlabel="head", ylabel="layer")


def paths(axes: Axes, found: Found) -> None:
    """07: pitch that goes with the strongest edges, and with random ones."""
    points = found["paths"].remove
    shares = [100 * point.share for point in points]
    axes.plot(shares, [point.ranked for point in points], marker="o", label="strongest edges")
    axes.plot(shares, [np.mean(p.random) for p in points], marker="o", label="random edges")
    axes.set(xlabel="% of the edges removed", ylabel="change of pitch")
    axes.legend()


def synthetic(axes: Axes, found: Found) -> None:
    """08: log odds that a sound is synthetic."""
    names = list(found["found"])
    axes.barh(names, [found["found"][name]["log_odds"] for name in names])
    axes.axvline(0, color="0.5", linewidth=0.8)
    axes.set(xlabel="log odds of synthetic, from the sound alone")


DRAWN: dict[str, Callable[[Axes, Found], None]] = {
    "01": wave, "02": clone, "03": attention, "04": causes,
    "05": steered, "06": heads, "07": paths, "08": synthetic,
}  # fmt: skip


def run(example: Path, recording: str) -> tuple[Found, str]:
    """Everything an example leaves behind, and what it printed."""
    said = io.StringIO()
    sys.argv = [str(example), *([recording] if example.stem[:2] == "02" else [])]
    with contextlib.redirect_stdout(said):
        found = runpy.run_path(str(example), run_name="__main__")
    return found, said.getvalue()


def picture(number: str, found: Found, target: Path) -> None:
    """One small figure."""
    figure, axes = plt.subplots(figsize=(6, 2.8), layout="constrained")
    DRAWN[number](axes, found)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=90)
    plt.close(figure)


def section(example: Path, printed: str) -> str:
    """An example's part of the page."""
    about = example.read_text(encoding="utf-8").split('"""')[1].split(" Run:")[0]
    lines = printed.strip().splitlines()
    shown = "\n".join([*lines[:LINES], *(["..."] if len(lines) > LINES else [])])
    number = example.stem[:2]
    shows = (DRAWN[number].__doc__ or "").split(": ", 1)[1]
    name = f"img/gallery-{number}.png"
    return (
        f"## {example.stem}\n\n{about} [Script](../examples/{example.name})\n\n"
        f"![{shows[0].upper()}{shows[1:]}]({name})\n\n```\n{shown}\n```\n"
    )


def main(wanted: list[str]) -> None:
    """Run them, and write the page."""
    old = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    held = {part[3:5]: part for part in re.split(r"(?m)^(?=## )", old) if part.startswith("## ")}
    begun, here = tempfile.TemporaryDirectory(), Path.cwd()
    os.chdir(begun.name)
    try:
        for example in sorted(EXAMPLES.glob("[0-9][0-9]_*.py")):
            number = example.stem[:2]
            if wanted and number not in wanted:
                continue
            if number == "02" and not Path("01_say.wav").is_file():
                run(EXAMPLES / "01_say.py", "")
            found, printed = run(example, "01_say.wav")
            picture(number, found, HERE / "img" / f"gallery-{number}.png")
            held[number] = section(example, printed) + "\n"
            text = HEAD + "".join(held[number] for number in sorted(held))
            PAGE.write_text(text.rstrip() + "\n", encoding="utf-8")
    finally:
        os.chdir(here)
        begun.cleanup()


if __name__ == "__main__":
    main(sys.argv[1:])
