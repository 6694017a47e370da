"""Slices of one voice -> a store that the trainers read: waves, F0, tokens of the model that is tuned, and
phonemes with their times.

Times come from the readout of the model's own tokens by forced alignment where the training weights are
there, else from the GPT's guided heads: the never-returning path through their attention. The bundle's
tokens are not retrained: a voice speaks in the units the model knows. In: a bundle and slices; out: a folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voxray.audio import speech_gain
from voxray.bundle import RATE as HEARD_RATE
from voxray.bundle import Bundle
from voxray.joining import monotone_path
from voxray.models.gpt import GPT
from voxray.pieces import closed
from voxray.sites import record
from voxray.text.symbols import SYMBOL_TO_ID
from voxray.tokens.content import Readout

from .align import forced_spans
from .pitch import f0_track
from .slices import Slice
from .store import RATE, TOKEN, Entry, write_index

SPEAKER = "voice"
WIDE, WIDE_RATE = "wave32k.i16", 32_000  # what published models are tuned on
WIDE_TOKEN = 1280  # samples at that rate
PAUSES = (",", ".", "!", "?", "-", "…", "SP", "SP2", "SP3")


def write_store(
    folder: Path,
    bundle: Bundle,
    train: Sequence[Slice],
    held: Sequence[Slice],
    readout: Readout | None = None,
) -> Path:
    """Fill a folder; the index comes last, so that a store is whole or is made again."""
    folder.mkdir(parents=True, exist_ok=True)
    text = bundle.text_pipeline()
    entries: list[Entry] = []
    waves: list[NDArray[np.int16]] = []
    wide: list[NDArray[np.int16]] = []
    tokens: list[NDArray[np.int16]] = []
    rows: list[str] = []
    position = 0
    for split, pieces in (("train", train), ("dev", held)):
        for piece in pieces:
            said = text(piece.text, piece.language)  # type: ignore[arg-type]
            ids = (closed(said) if text.convention == "voxray" else said).ids
            wave = _wave(piece)
            heard = torch.from_numpy(piece.at(HEARD_RATE))
            codes = _fitted(bundle.encode(heard).numpy(), len(wave) // TOKEN)
            if not 2 <= len(ids) <= 2 * len(codes):
                continue
            spans = align(bundle, ids, codes, readout, _levels(wave))
            rows.append(json.dumps({"name": piece.name, "ids": list(ids), "spans": spans.tolist()}))
            entries.append(
                Entry(
                    piece.name,
                    SPEAKER,
                    piece.language,
                    piece.text,
                    split,
                    min(RATE, piece.rate) // 2,
                    False,
                    position,
                    len(wave),
                )  # fmt: skip
            )
            waves.append(wave)
            if bundle.config.version:
                wide.append(_wide(piece, len(codes)))
            tokens.append(codes.astype(np.int16))
            position += len(wave)
    if not any(entry.split == "train" for entry in entries):
        raise ValueError("no clip's text fits its sound: nothing to learn from")
    _write(folder, waves, tokens, rows, bundle)
    if wide:
        np.concatenate(wide).tofile(folder / WIDE)
    write_index(folder, entries)
    return folder


def _write(
    folder: Path,
    waves: list[NDArray[np.int16]],
    tokens: list[NDArray[np.int16]],
    rows: list[str],
    bundle: Bundle,
) -> None:
    np.concatenate(waves).tofile(folder / "wave.i16")
    np.concatenate(tokens).tofile(folder / "tokens.i16")
    tracks = [f0_track(wave.astype(np.float32) / 32768) for wave in waves]
    np.concatenate(tracks).astype(np.float16).tofile(folder / "f0.f16")
    np.save(folder / "codebook.npy", bundle.quantiser.codebook.numpy())
    (folder / "labels.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _wave(piece: Slice) -> NDArray[np.int16]:
    """At 24 kHz, at the corpus' loudness, padded to whole tokens."""
    wave = piece.at(RATE)
    wave = wave * speech_gain(wave)
    padded = np.zeros(-(-len(wave) // TOKEN) * TOKEN, np.float32)
    padded[: len(wave)] = wave
    return (np.clip(padded, -1, 1) * 32767).astype("<i2")


def _wide(piece: Slice, tokens: int) -> NDArray[np.int16]:
    """At 32 kHz, padded to whole tokens, as loud as the published models' training makes it: halfway between the
    recording as it is and one whose peak is 0.95.
    """
    wave = piece.at(WIDE_RATE)
    peak = max(float(np.abs(wave).max(initial=0.0)), 1e-4)
    wave = wave * (0.5 + 0.5 * 0.95 / peak)
    padded = np.zeros(tokens * WIDE_TOKEN, np.float32)
    padded[: len(wave)] = wave[: len(padded)]
    return (np.clip(padded, -1, 1) * 32767).astype("<i2")


def _levels(wave: NDArray[np.int16]) -> NDArray[np.float64]:
    """Loudness of the frames of 20 ms of a wave [N], in dB: [N // 480]."""
    frames = wave.astype(np.float64).reshape(-1, 480) / 32768
    return 10 * np.log10(np.square(frames).mean(1) + 1e-9)


def _fitted(codes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """As many codes as the wave has tokens: rounding may leave one too few."""
    if len(codes) >= count:
        return codes[:count]
    return np.pad(codes, (0, count - len(codes)), mode="edge")


def align(
    bundle: Bundle,
    ids: Sequence[int],
    codes: NDArray[np.int64],
    readout: Readout | None,
    level: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Spans [P, 2] of the phonemes in frames of 20 ms, two to a token; `level` [2 S]: loudness in dB."""
    if readout is not None:
        with torch.inference_mode():
            vectors = bundle.quantiser.embed(torch.from_numpy(codes)[None])
            scores = readout(vectors)[0][0].float().log_softmax(-1).numpy()  # [2S, symbols]
        silence = SYMBOL_TO_ID["SP"]
        still = {SYMBOL_TO_ID[symbol] for symbol in PAUSES}
        return forced_spans(scores, [silence if i in still else i for i in ids], silence, level)[0]
    if not bundle.gpt.config.guided_heads:
        return _even(len(ids), 2 * len(codes))
    path = monotone_path(guided_attention(bundle.gpt, ids, codes))
    edges = np.searchsorted(path, np.arange(len(ids) + 1)) * 2
    edges[-1] = 2 * len(codes)
    return np.stack([edges[:-1], edges[1:]], axis=1)


def _even(phones: int, frames: int) -> NDArray[np.int64]:
    edges = np.linspace(0, frames, phones + 1).round().astype(np.int64)
    return np.stack([edges[:-1], edges[1:]], axis=1)


@torch.inference_mode()
def guided_attention(gpt: GPT, ids: Sequence[int], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """What the guided heads look at while each token [S] is read, over the phonemes: [S, P]."""
    text, tokens = torch.tensor([list(ids)]), torch.from_numpy(codes.astype(np.int64))[None]
    names = {layer: f"blocks.{layer}.attn.pattern" for layer, _ in gpt.config.guided_heads}
    with record(gpt, sorted(set(names.values()))) as seen:
        gpt(text, torch.tensor([len(ids)]), tokens)
    rows: list[Tensor] = [
        seen[names[layer]][0][0, head, len(ids) :, : len(ids)]  # [S + 1, P]
        for layer, head in gpt.config.guided_heads
    ]
    return torch.stack(rows).mean(0)[: len(codes)].double().numpy()
