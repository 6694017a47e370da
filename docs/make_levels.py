"""How much of each latent comes back in the sound of a model's decoder; and the same model with some of them raised.

    python docs/make_levels.py MODEL_FOLDER RECORDING...                      # the slopes
    python docs/make_levels.py MODEL_FOLDER RECORDING... --raise 1,1.05,1.2,2.1 --level -0.1 --to TARGET_FOLDER

A decoder that had to make recordings out of latents of other moments has learnt to pass over them. Each recording's latents
are decoded and heard again; the slope of those heard over those told is 1 where a decoder says what it is told. `--raise`
multiplies the columns of the decoder's linear path: factors of the first, 13th, 37th and last latent behind the pitch,
straight lines between; `--level` is added to its logarithm (1 is 8.7 dB), since what is raised is louder. It costs naturalness where
details do not fit, and what is good for one kind of recording is too much for another: listen, and measure with
benchmarks/quality.py on references of several corpora.
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from make_mean import keep_beside
from torch import Tensor

from voxray import audio
from voxray.bundle import LATENT_RATE, Bundle
from voxray.models.decoder_istft import IstftDecoder
from voxray.models.generator import Generator
from voxray.models.posterior_mel import PITCH_LATENTS

KNOTS = (0, 12, 36)  # latents behind the pitch with a factor of their own; and the last
EDGES = (0, 4, 12, 24, 36, 48, 60, 76, 92)  # of the bands that are told
MOST_SECONDS = 20


def slopes(bundle: Bundle, recordings: list[Path]) -> Tensor:
    """Slope of each latent heard over those told [Z - 4]."""
    generator = bundle.generator
    if not isinstance(generator, Generator) or generator.hearing is None:
        raise ValueError("this model hears no latents of a recording")
    told, heard = [], []
    for path in recordings:
        wave, rate = audio.read_audio(path)
        wave = wave[: MOST_SECONDS * rate]
        wave = audio.resample(np.asarray(wave, np.float32).reshape(-1), rate, LATENT_RATE)
        z = bundle.latents(wave * audio.speech_gain(wave))
        speaker = bundle.speaker_vector(wave, LATENT_RATE)[None]
        noise = torch.randn(1, 480 * z.shape[2], generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            made, _ = generator.decoder.speak(z, speaker, noise)
            again = generator.hearing.components(generator.hearing.pairs(made))[0].t()
        told.append(z[0, PITCH_LATENTS:])
        heard.append(again[:, : z.shape[2]])
    x, y = (torch.cat(part, dim=1) for part in (told, heard))
    x, y = (part - part.mean(1, keepdim=True) for part in (x, y))
    return (x * y).mean(1) / x.square().mean(1)


def raised(bundle: Bundle, factors: list[float], level: float = 0.0) -> None:
    """Multiply the columns of the decoder's linear path, and move its level, in place."""
    decoder = bundle.generator.decoder
    if not isinstance(decoder, IstftDecoder) or len(factors) != len(KNOTS) + 1:
        raise ValueError("four factors, and a decoder like mini's, are needed")
    latents = decoder.direct.in_features - PITCH_LATENTS
    line = np.interp(np.arange(latents), (*KNOTS, latents - 1), factors)
    with torch.no_grad():
        decoder.direct.weight[:, PITCH_LATENTS:] *= torch.from_numpy(line).float()
        decoder.direct.bias += level


def _say(name: str, slope: Tensor) -> None:
    parts = (f"{float(slope[first:last].mean()):.2f}" for first, last in pairwise(EDGES))
    sys.stdout.write(f"{name}: {' '.join(parts)}\n")


def _make(given: argparse.Namespace) -> None:
    bundle = Bundle.load(given.model, precision="float32")
    _say("told to heard", slopes(bundle, given.recordings))
    if given.to:
        raised(bundle, [float(factor) for factor in given.factors.split(",")], given.level)
        _say("raised", slopes(bundle, given.recordings))
        bundle.save(given.to)
        keep_beside(given.model, given.to)


def main() -> None:
    """The command; exit code 2 where an argument is no good."""
    parser = argparse.ArgumentParser(description="Levels of a decoder's latents.")
    parser.add_argument("model", type=Path)
    parser.add_argument("recordings", type=Path, nargs="+")
    parser.add_argument("--raise", dest="factors", default="")
    parser.add_argument("--level", type=float, default=0.0)
    parser.add_argument("--to", type=Path)
    given = parser.parse_args()
    if bool(given.factors) != bool(given.to):
        parser.error("--raise and --to go together")
    try:
        _make(given)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
