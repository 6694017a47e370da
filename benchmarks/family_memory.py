"""How much memory does a process take that speaks with a published model? A part of `family_speed.py`.

    python benchmarks/family_memory.py VOICE [--encoders FOLDER]  # GB; what the benchmark runs as processes of their own

In: a converted model's folder, and the folder of HuBERT and RoBERTa, if they are to be loaded.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer

sys.path.insert(0, str(Path(__file__).parent))
from family_models import bundle_of, exactly, random_encoders, random_voice  # noqa: E402

from voxray.bundle import Bundle  # noqa: E402
from voxray.pipeline import Pipeline  # noqa: E402

TEXT = "灯塔的看守人每天傍晚走上楼梯，点亮灯火，把天黑以前经过的船只一一记在本子上。"
TOKENS = 250


def speak(folder: Path, encoders: Path | None) -> None:
    """Hear a reference (where there are encoders), read Mandarin, speak."""
    from voxray.pretrained import Pretrained

    bundle = Bundle.load(folder)
    if encoders is not None:
        packed = bundle.precision != "float32"
        bundle.encoders = Pretrained(encoders, packed=packed)  # type: ignore[attr-defined]
        bundle.encode(torch.randn(6 * 16_000))
    pipeline = Pipeline(bundle, bundle.text_pipeline())
    pipeline.synthesise(TEXT, random_voice(bundle), exactly(TOKENS, "zh"))


def peak_memory() -> float:
    """Most that this process held [GB]. Linux hands `ru_maxrss` on from parent to child, so it is no answer."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9  # bytes on a Mac


def memory(folder: Path, encoders: Path | None) -> float:
    """Peak memory [GB] of a fresh process."""
    command = [sys.executable, __file__, str(folder)]
    if encoders is not None:
        command += ["--encoders", str(encoders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"the memory run failed: {done.stderr.strip()[-300:]}")
    return float(done.stdout.strip().splitlines()[-1])


def memories(quick: bool) -> dict[str, float]:
    """Peak memory [GB] with a saved voice, and with the encoders that a new voice needs."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "voice"
        bundle_of("v2", "float32").save(folder)
        found = {"v2, a saved voice": memory(folder, None)}
        if not quick:
            encoders = random_encoders(Path(place) / "encoders")
            found["v2, HuBERT and RoBERTa loaded"] = memory(folder, encoders)
    return found


def main(
    voice: Annotated[Path, typer.Argument(help="A converted model's folder.")],
    encoders: Annotated[Path | None, typer.Option(help="With HuBERT and RoBERTa.")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
) -> None:
    """Speak once and print the most that was held, in GB."""
    torch.set_num_threads(threads)
    speak(voice, encoders)
    print(json.dumps(peak_memory()))


if __name__ == "__main__":
    typer.run(main)
