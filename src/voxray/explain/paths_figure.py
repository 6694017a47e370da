"""Critical paths drawn as a graph: stages from left to right, an edge as thick as it matters.

In: `Paths` and a file name ending in .svg or .png. Only the strongest edges are drawn; the curves of
removing edges stand beside the graph, with random edges for comparison.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .paths import Paths

SHOWN = 40
COLUMNS = ("text", "head", "tokens", "codes", "prior", "coupling", "speaker", "memory")


def draw(paths: Paths, file: Path) -> None:
    """Write the picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    graph, curve = figure.subplots(1, 2, width_ratios=(3, 1))
    edges = [edge for edge in paths.edges[:SHOWN] if edge.effects[paths.target] > 0]
    places = _places([name for edge in edges for name in (edge.source, edge.sink)])
    top = max((edge.effects[paths.target] for edge in edges), default=1.0)
    for edge in reversed(edges):
        share = edge.effects[paths.target] / top
        (x0, y0), (x1, y1) = places[edge.source], places[edge.sink]
        graph.plot([x0, x1], [y0, y1], color=(0.1, 0.3, 0.7, 0.15 + 0.85 * share),
                   linewidth=0.5 + 5 * share, zorder=1)  # fmt: skip
    for name, (x, y) in places.items():
        box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "0.5"}
        graph.text(x, y, name, ha="center", va="center", fontsize=8, bbox=box, zorder=2)
    graph.set_axis_off()
    graph.margins(0.1)
    graph.set_title(f"edges that carry {paths.target} ({paths.model}, seed {paths.seed})")
    shares = [point.share for point in paths.remove]
    curve.plot(shares, [point.ranked for point in paths.remove], marker="o", label="ranked edges")
    means = [float(np.mean(point.random)) for point in paths.remove]
    curve.plot(shares, means, marker="o", linestyle="--", label="random edges")
    curve.set_xlabel("share of edges removed")
    curve.set_ylabel(f"change of {paths.target}")
    curve.legend()
    figure.savefig(file)


def _places(names: list[str]) -> dict[str, tuple[float, float]]:
    columns: dict[int, list[str]] = {}
    for name in dict.fromkeys(names):
        columns.setdefault(_column(name), []).append(name)
    return {
        name: (float(column), -(row + 0.5) / len(members))
        for column, members in columns.items()
        for row, name in enumerate(members)
    }


def _column(name: str) -> int:
    order = {"text": 0, "speech so far": 0, "speaker": 0, "tokens": 2, "codes": 3, "memory": 3,
             "waveform": 6}  # fmt: skip
    if name in order:
        return order[name]
    if name.startswith(("head", "map")):
        return 1
    return 5 if name.startswith("coupling") else 4
