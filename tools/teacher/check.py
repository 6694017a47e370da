"""Does `model.py` say what onnxruntime says? Frames, correlation and log-mel distance on the first clips of a list.

    python check.py --onnx FILE --model packed --jobs jobs.jsonl --clips 2

Runs on the CPU. Where frames differ (rounding of a duration), the sound is compared on onnxruntime's frames.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import command
import numpy as np
import onnxruntime
import torch
from model import RATE, Kokoro, load
from packed import Voices


def log_mel(wave: np.ndarray) -> torch.Tensor:
    """[80, T] in dB."""
    top = 2595 * np.log10(1 + np.array([50, 11_500]) / 700)
    edges = 700 * (10 ** (np.linspace(*top, 82) / 2595) - 1)
    hertz, width = np.linspace(0, RATE / 2, 513), np.diff(edges)[:, None]
    rising, falling = (hertz - edges[:-2, None]) / width[:-1], (edges[2:, None] - hertz) / width[1:]
    bank = torch.from_numpy(np.maximum(0, np.minimum(rising, falling))).float()
    window = torch.hann_window(1024)
    spectrum = torch.stft(torch.from_numpy(wave), 1024, 256, window=window, return_complex=True)
    return 10 * torch.log10(bank @ spectrum.abs().square() + 1e-7)


def reference(path: Path) -> onnxruntime.InferenceSession:
    """The export on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])


@torch.inference_mode()
def compare(
    model: Kokoro,
    session: onnxruntime.InferenceSession,
    ids: list[int],
    style: np.ndarray,
    speed: float,
) -> str:
    """One line on one clip."""
    styles, speeds = style[None], np.array([speed], np.float32)
    given = {"input_ids": np.array([ids], np.int64), "style": styles, "speed": speeds}
    audio, frames = (np.asarray(x).ravel() for x in session.run(None, given))
    x, t, own = model.encode([ids], styles, speeds)
    made = model.decode(x, t, [frames], styles)[0].cpu().numpy()
    gap = (log_mel(made) - log_mel(audio)).abs().mean()
    same, alike = int((own[0] == frames).sum()), np.corrcoef(made, audio)[0, 1]
    return f"{same} of {len(frames)} frames equal, correlation {alike:.5f}, log-mel {gap:.3f} dB"


def work(args: argparse.Namespace) -> None:
    """Compare clip by clip."""
    voices, model, session = Voices(args.model), load(args.model), reference(args.onnx)
    with args.jobs.open(encoding="utf-8") as file:
        for line in itertools.islice(file, args.clips):
            job = json.loads(line)
            style = voices.style(job["symbols"], job["style"], job["prosody"])
            line = compare(model, session, voices.ids(job["symbols"]), style, job["speed"])
            print(f"{job['name']}: {line}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--onnx", type=Path, required=True, help="the export with durations")
    parser.add_argument("--model", type=Path, required=True, help="folder written by pack.py")
    parser.add_argument("--jobs", type=Path, required=True, help="list written by jobs.py")
    parser.add_argument("--clips", type=int, default=2)
    command.run(parser, work)
