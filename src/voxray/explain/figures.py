"""Pictures without a drawing library: small PNGs of matrices, SVGs of waves, bars and strips.

In: arrays. Out: strings that stand inside an HTML page on their own (data URIs, inline SVG). Colours
are classes, so that a page chooses them for light and dark; matrices are one ink with sixteen levels of
opacity, so that they show on both. `paper` draws the same with matplotlib, as PNG or SVG files.
"""

from __future__ import annotations

import base64
import html
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..synthesis import WordTime

INK = (58, 122, 224)  # readable on white and on near-black
LEVELS = 16
WIDTH = 1000  # of every SVG, in its own units

Floats = NDArray[np.floating]


def matrix_png(values: Floats, *, gamma: float = 0.5, top: float | None = None) -> bytes:
    """A matrix [rows, columns] of weights >= 0 as a PNG, one pixel an entry; `top` is full ink."""
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"a picture wants a matrix with entries; got shape {values.shape}")
    full = float(values.max()) if top is None else top
    share = np.clip(values.astype(np.float64) / max(full, 1e-12), 0, 1) ** gamma
    index = np.round(share * (LEVELS - 1)).astype(np.uint8)
    if index.shape[1] % 2:
        index = np.pad(index, ((0, 0), (0, 1)))
    packed = (index[:, ::2] << 4) | index[:, 1::2]
    lines = np.pad(packed, ((0, 0), (1, 0))).tobytes()  # filter byte 0 in front of each line
    rows, columns = values.shape
    head = struct.pack(">IIBBBBB", columns, rows, 4, 3, 0, 0, 0)
    opacity = bytes(round(255 * level / (LEVELS - 1)) for level in range(LEVELS))
    parts = [
        (b"IHDR", head),
        (b"PLTE", bytes(INK) * LEVELS),
        (b"tRNS", opacity),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as a URI that a page can hold."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def escape(text: object) -> str:
    """Text that is safe in HTML and in attributes."""
    return html.escape(str(text), quote=True)


@dataclass(frozen=True)
class Sound:
    """What `wave_svg` draws: samples [N], words with times, F0 [F] in Hz every 10 ms."""

    audio: Floats
    rate: int
    words: Sequence[WordTime]
    f0: Floats
    hop_seconds: float = 0.01

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return len(self.audio) / self.rate


def wave_svg(sound: Sound, height: int = 220) -> str:
    """Waveform, F0 over it (log scale, its range written out), words below, each a button."""
    if len(sound.audio) == 0:
        raise ValueError("there is no sound to draw")
    wave_height = height - 40
    parts = [
        f'<svg class="wave" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="Waveform of {sound.seconds:.2f} s with F0 and words" '
        f'data-seconds="{sound.seconds:.4f}">',
        f'<path class="envelope" d="{_envelope(sound.audio, wave_height)}"/>',
        _f0_path(sound, wave_height),
    ]
    for number, word in enumerate(sound.words):
        left = WIDTH * word.start_s / sound.seconds
        width = max(1.0, WIDTH * (word.end_s - word.start_s) / sound.seconds)
        parts.append(
            f'<g class="word" tabindex="0" role="button" data-from="{word.start_s:.3f}" '
            f'data-to="{word.end_s:.3f}" aria-label="Play {escape(word.text)}, '
            f'{word.start_s:.2f} to {word.end_s:.2f} seconds">'
            f'<rect class="band{number % 2}" x="{left:.1f}" y="0" width="{width:.1f}" '
            f'height="{height}"/><text x="{left + width / 2:.1f}" y="{height - 22 + 14 * (number % 2)}">'
            f"{escape(word.text)}</text></g>"
        )
    parts.append(f'<line class="cursor" x1="0" x2="0" y1="0" y2="{wave_height}"/></svg>')
    return "".join(parts)


def _envelope(wave: Floats, height: int) -> str:
    columns = min(WIDTH, len(wave))
    edges = np.linspace(0, len(wave), columns + 1).astype(int)
    scale = 0.48 * height / max(float(np.abs(wave).max()), 1e-6)
    middle = height / 2
    tops = [middle - scale * float(wave[a:b].max()) for a, b in zip(edges[:-1], edges[1:])]
    lows = [middle - scale * float(wave[a:b].min()) for a, b in zip(edges[:-1], edges[1:])]
    step = WIDTH / columns
    forth = " ".join(f"{i * step:.0f},{y:.1f}" for i, y in enumerate(tops))
    back = " ".join(f"{i * step:.0f},{y:.1f}" for i, y in reversed(list(enumerate(lows))))
    return f"M{forth} L{back} Z"


def _f0_path(sound: Sound, height: int) -> str:
    voiced = sound.f0 > 0
    if not voiced.any():
        return f'<text class="axis" x="{WIDTH - 4}" y="14" text-anchor="end">no F0: unvoiced</text>'
    low, high = np.quantile(sound.f0[voiced], [0.02, 0.98])
    low, high = float(low) / 1.06, float(high) * 1.06
    runs: list[str] = []
    run: list[str] = []
    for frame, hertz in enumerate([*sound.f0.tolist(), 0.0]):
        if hertz > 0:
            x = WIDTH * (frame + 0.5) * sound.hop_seconds / sound.seconds
            share = np.clip(np.log(hertz / low) / np.log(high / low), 0, 1)
            run.append(f"{x:.1f},{height * (0.95 - 0.9 * share):.1f}")
        elif run:
            runs.append("M" + " L".join(run))
            run = []
    label = (
        f'<text class="axis" x="{WIDTH - 4}" y="14" text-anchor="end">F0 {low:.0f} - {high:.0f} Hz'
        f", log scale</text>"
    )
    return f'<path class="f0" d="{" ".join(runs)}"/>{label}'


@dataclass(frozen=True)
class Bar:
    """One bar: what it is of, how long (signed), and its class of sound."""

    label: str
    value: float
    kind: str = ""
    detail: str = ""


def bars_svg(bars: Sequence[Bar], title: str, height: int = 150) -> str:
    """Signed bars side by side with labels under them."""
    if not bars:
        raise ValueError("no bars to draw")
    values = np.array([bar.value for bar in bars])
    top, low = max(0.0, float(values.max())), min(0.0, float(values.min()))
    room, size = height - 22, max(top - low, 1e-12)
    zero = room * top / size
    step = WIDTH / len(bars)
    parts = [
        f'<svg class="bars" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
    ]
    small = " small" if step < 22 else ""
    for number, bar in enumerate(bars):
        length = room * abs(bar.value) / size
        y = zero - length if bar.value >= 0 else zero
        parts.append(
            f"<g><title>{escape(bar.label)}: {bar.value:+.3g} {escape(bar.detail)}</title>"
            f'<rect class="bar {"up" if bar.value >= 0 else "down"} {escape(bar.kind)}" '
            f'x="{number * step + 0.08 * step:.1f}" y="{y:.1f}" width="{0.84 * step:.1f}" '
            f'height="{max(length, 0.5):.1f}"/>'
            f'<text class="label{small}" x="{(number + 0.5) * step:.1f}" y="{height - 6}">'
            f"{escape(bar.label)}</text></g>"
        )
    parts.append(f'<line class="zero" x1="0" x2="{WIDTH}" y1="{zero:.1f}" y2="{zero:.1f}"/></svg>')
    return "".join(parts)


@dataclass(frozen=True)
class Cell:
    """One token of the strip."""

    token: int
    symbol: str
    kind: str
    start_s: float
    end_s: float
    entropy: float
    margin: float
    settled: int


def strip_svg(cells: Sequence[Cell], seconds: float, layers: int, height: int = 110) -> str:
    """Tokens in time: colour is the class of the phoneme, the bar above is the entropy (nats)."""
    if not cells:
        raise ValueError("no tokens to draw")
    highest = max(max(cell.entropy for cell in cells), 1e-9)
    room = height - 40
    parts = [
        f'<svg class="strip" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="Strip of {len(cells)} tokens; bars show entropy up to {highest:.1f} nats">'
    ]
    for cell in cells:
        x, width = WIDTH * cell.start_s / seconds, WIDTH * (cell.end_s - cell.start_s) / seconds
        tall = room * cell.entropy / highest
        when = f"layer {cell.settled} on" if cell.settled < layers else "sampled against the odds"
        told = (
            f"token {cell.token}, phoneme {cell.symbol} ({cell.kind}), {cell.start_s:.2f} s, entropy "
            f"{cell.entropy:.2f} nats, margin {cell.margin:.2f}, the best one from {when}"
        )
        parts.append(
            f'<g class="token" tabindex="-1" data-from="{cell.start_s:.3f}" data-to="{cell.end_s:.3f}" '
            f'data-told="{escape(told)}"><title>{escape(told)}</title>'
            f'<rect class="entropy" x="{x:.1f}" y="{room - tall:.1f}" width="{0.9 * width:.1f}" '
            f'height="{max(tall, 0.5):.1f}"/>'
            f'<rect class="cell {escape(cell.kind)}" x="{x:.1f}" y="{room + 3}" '
            f'width="{0.9 * width:.1f}" height="16"/></g>'
        )
    for begin, symbol in _changes(cells):
        x = WIDTH * begin / seconds
        parts.append(
            f'<text class="label small" x="{x:.1f}" y="{height - 5}">{escape(symbol)}</text>'
        )
    return "".join([*parts, "</svg>"])


def _changes(cells: Sequence[Cell]) -> list[tuple[float, str]]:
    found: list[tuple[float, str]] = []
    begin = 0
    for number in range(1, len(cells) + 1):
        if number == len(cells) or cells[number].symbol != cells[begin].symbol:
            found.append(
                ((cells[begin].start_s + cells[number - 1].end_s) / 2, cells[begin].symbol)
            )
            begin = number
    return found


def paper(path: Path, values: Floats, rows: Sequence[str], title: str, seconds: float) -> None:
    """A head's attention [P, S] as a figure for a paper: PNG or SVG by the name's ending."""
    if path.suffix not in (".png", ".svg"):
        raise ValueError(f"a figure's name ends in .png or .svg, not {path.name!r}")
    from matplotlib.figure import Figure  # no pyplot: nothing global, no display

    figure = Figure(figsize=(6.0, 0.6 + 0.13 * len(rows)), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(values, aspect="auto", cmap="Blues", extent=(0, seconds, len(rows) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), rows, fontsize=6)
    axes.set_xlabel("seconds")
    axes.set_title(title, fontsize=8)
    part = path.with_name(f".{path.name}.part")
    try:
        figure.savefig(
            part, format=path.suffix[1:], metadata={"Date": None} if path.suffix == ".svg" else None
        )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
