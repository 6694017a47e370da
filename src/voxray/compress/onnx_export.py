"""The small chain as ONNX: what a browser or a phone can run, without torch.

In: a bundle whose GPT stage is a `Student` and whose decoder is the source-filter one. Out, in a folder:
`text.onnx` (phonemes -> keys, values), `step.onnx` (one token -> logits, where it looked, states),
`speech.onnx` (tokens, phonemes, speaker -> F0 and the filters of both sources; of a model that looks up the
reference's frames these, too) and `chain.json` with sizes and sampling defaults. The sources and the inverse transform are plain arithmetic: `onnx_runner` shows them.
Needs the extra `small`.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..bundle import Bundle
from ..models.calibration import neutral
from ..models.decoder_istft import IstftDecoder
from ..models.generator import Generator
from ..models.memory import Memory
from ..models.posterior_mel import REFERENCE_HZ, read_pitch
from ..models.student import Student, StudentCache

FORMAT, OPSET, SPEECH_OPSET = 1, 17, 18
FILES = ("text.onnx", "step.onnx", "speech.onnx")


class TextNet(nn.Module):
    """Phonemes [1, P] -> keys, values [1, P, D]."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        student = self.student
        x, _ = student.reader(student.text_embedding(ids))
        head = student.blocks[0].attn
        return head.key(x), head.value(x)


class StepNet(nn.Module):
    """One token -> logits [1, K+1], pattern [1, P], states; `token` K begins the speech."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(
        self, token: Tensor, keys: Tensor, values: Tensor, bias: Tensor,
        h1: Tensor, c1: Tensor, h2: Tensor, c2: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        student = self.student
        first = (token == student.end)[:, None, None]
        x = torch.where(first, student.bos, student.audio_embedding(token[:, None]))
        mask = torch.ones_like(bias, dtype=torch.bool)
        cache = StudentCache(keys, values, mask, (h1, c1), (h2, c2), 0)
        seen: list[Tensor] = []
        pattern = student.blocks[0].attn.pattern
        pattern.watch(seen.append)
        try:
            made, asking, deciding = student.blocks[0](x, cache, bias)
        finally:
            pattern.unwatch(seen.append)
        logits = student.head(student.norm(made))[:, 0]
        return logits, seen[0][:, 0, 0], *asking, *deciding


class SpeechNet(nn.Module):
    """Tokens [1, S], phonemes [1, P], speaker [1, G], pointer [1, S] (-1: unknown), the prior's noise
    [1, Z, 2S] -> F0 [1, 4S], envelope [1, 4S, 2F], filters [1, 4S, 4F].

    Of a model with a memory also: the reference's tokens [1, R], its latents [1, Z, 2R], how many of
    the tokens count [1] (0: nothing is remembered), and the voice's correction [1, Z, F + 2].
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(
        self, tokens: Tensor, ids: Tensor, speaker: Tensor, pointer: Tensor, noise: Tensor,
        reference: Tensor | None = None, frames: Tensor | None = None, known: Tensor | None = None,
        correction: Tensor | None = None,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        model = self.generator
        memory = None
        if reference is not None and frames is not None:
            memory = Memory(reference, frames, known, correction)
        features, vector = model.features(tokens), speaker[..., None]
        # lengths as sums, so that they stay variable in the exported graph
        lengths, phones = 2 * torch.ones_like(tokens).sum(1), torch.ones_like(ids).sum(1)
        pointer = pointer.repeat_interleave(2, dim=1)
        heard = model.heard(memory)
        out = model.prior(features, lengths, ids, phones, vector, pointer=pointer, heard=heard)
        spread = noise * out.log_std.exp() * model.config.noise_scale
        z = model.flow.inverse(out.mean + spread, out.mask, vector)
        z = model.detailed(z, features, heard)
        with _caught(model.decoder) as seen:
            model.decoder(z, speaker, noise, f0_of(z))
        envelope, filters, f0 = seen
        return f0, envelope, filters


def f0_of(z: Tensor) -> Tensor:
    """The F0 [1, 2T] in Hz that the decoder reads from latents [1, Z, T] (0: unvoiced), smoothed over 50 ms."""
    octaves, voicing = read_pitch(z.transpose(1, 2))
    padded = F.pad(octaves[:, None], (2, 2), mode="replicate")
    smooth = F.avg_pool1d(padded, 5, 1)[:, 0]
    return torch.where(voicing > 0, REFERENCE_HZ * 2.0**smooth, torch.zeros_like(smooth))


@contextmanager
def _caught(decoder: Any) -> Iterator[list[Tensor]]:
    """What the decoder would filter with, caught before it does."""
    seen: list[Tensor] = []

    def keep(envelope: Tensor, filters: Tensor, f0: Tensor, noise: Tensor) -> Tensor:
        seen.extend([envelope, filters, f0])
        return noise

    decoder._filter = keep
    try:
        yield seen
    finally:
        del decoder._filter


def export(bundle: Bundle, folder: Path) -> Path:
    """Write the chain; ValueError where the bundle is not of the small kind."""
    student, model = bundle.gpt, bundle.generator
    if not isinstance(student, Student):
        raise ValueError(
            f"{bundle.name!r} has a GPT; only the LSTM student is exported: `voxray compress distil`"
        )
    if not isinstance(model, Generator) or not isinstance(model.decoder, IstftDecoder):
        raise ValueError("only the source-filter decoder of mini is exported")
    try:
        import_module("onnx")
    except ModuleNotFoundError as error:
        raise ImportError(
            "exporting needs the package onnx: pip install onnx onnxruntime"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "text.onnx", TextNet(student), *_text_case())
    _write(folder / "step.onnx", StepNet(student), *_step_case(student))
    _write_speech(folder / "speech.onnx", SpeechNet(model), bundle)
    _describe(bundle, folder / "chain.json")
    return folder


Case = tuple[tuple[Tensor, ...], list[str], list[str], dict[str, dict[int, str]]]


def _text_case() -> Case:
    named = {"ids": {1: "phonemes"}, "keys": {1: "phonemes"}, "values": {1: "phonemes"}}
    return (torch.arange(5)[None] + 1,), ["ids"], ["keys", "values"], named


def _step_case(student: Student) -> Case:
    width, text = student.config.width, torch.zeros(1, 5, student.config.width)
    state = torch.zeros(1, 1, width)
    given = (
        torch.tensor([student.end]), text, text, torch.zeros(1, 1, 1, 5), state, state, state, state,
    )  # fmt: skip
    names = ["token", "keys", "values", "bias", "h1", "c1", "h2", "c2"]
    outputs = ["logits", "pattern", "h1_next", "c1_next", "h2_next", "c2_next"]
    axes = {"keys": {1: "phonemes"}, "values": {1: "phonemes"}, "bias": {3: "phonemes"}}
    return given, names, outputs, {**axes, "pattern": {1: "phonemes"}}


def _write_speech(path: Path, net: SpeechNet, bundle: Bundle) -> None:
    """By `torch.export`: the plain tracer would freeze the lengths of the relative positions."""
    config = bundle.generator.config
    latents, speaker = config.prior.latent_channels, config.speaker.speaker_width
    given: tuple[Tensor, ...] = (
        torch.arange(6)[None], torch.arange(5)[None] + 1, torch.zeros(1, speaker),
        torch.tensor([[0, 0, 1, 2, 3, 4]]), torch.zeros(1, latents, 12),
    )  # fmt: skip
    tokens = torch.export.Dim("tokens", min=2, max=4000)
    phonemes = torch.export.Dim("phonemes", min=2, max=2000)
    shapes: tuple[Any, ...] = ({1: tokens}, {1: phonemes}, None, {1: tokens}, {2: 2 * tokens})
    names = ["tokens", "ids", "speaker", "pointer", "noise"]
    if config.prior.memory_width:
        reference = torch.export.Dim("reference", min=2, max=4000)
        unknown = neutral(1, latents, config.prior.input_channels)
        given += torch.arange(7)[None], torch.zeros(1, latents, 14), torch.tensor([7]), unknown
        shapes += {1: reference}, {2: 2 * reference}, None, None
        names += ["reference", "frames", "known", "correction"]
    with _beside(path) as beside, _quiet(), torch.no_grad():
        torch.onnx.export(
            net.eval(), given, str(beside), dynamic_shapes=shapes, dynamo=True,
            input_names=names,
            output_names=["f0", "envelope", "filters"],
            opset_version=SPEECH_OPSET, external_data=False, verbose=False,
            custom_translation_table={torch.ops.aten._cdist_forward.default: _cdist},
        )  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes on what it traces; what goes wrong is raised all the same."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _cdist(one: Any, other: Any, p: float = 2.0, compute_mode: int | None = None) -> Any:
    """Distances of [B, T, C] from [B, R, C], [B, T, R], for the exporter: it knows none itself.

    By a matrix product: all differences at once would fill a phone.
    """
    op = import_module("onnxscript").opset18
    last = op.Constant(value_ints=[2])
    squares = op.Transpose(op.ReduceSumSquare(other, last), perm=[0, 2, 1])  # [B, 1, R]
    product = op.MatMul(one, op.Transpose(other, perm=[0, 2, 1]))
    both = op.Add(op.ReduceSumSquare(one, last), squares)
    return op.Sqrt(op.Relu(op.Sub(both, op.Add(product, product))))


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A name to write under; renamed into place at the end."""
    beside = path.with_name(f".{path.name}.part")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _write(
    path: Path,
    net: nn.Module,
    given: tuple[Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    axes: dict[str, dict[int, str]],
) -> None:
    with _beside(path) as beside, _quiet(), torch.no_grad():
        torch.onnx.export(
            net.eval(), given, str(beside), input_names=inputs, output_names=outputs,
            dynamic_axes=axes, opset_version=OPSET, dynamo=False,
        )  # fmt: skip


def _describe(bundle: Bundle, path: Path) -> None:
    config = bundle.generator.config
    facts = {
        "format": FORMAT,
        "name": bundle.name,
        "fingerprint": bundle.fingerprint,
        "end": bundle.gpt.end,
        "width": bundle.gpt.config.width,
        "latents": config.prior.latent_channels,
        "speaker": config.speaker.speaker_width,
        "correction": neutral(1, 1, config.prior.input_channels).shape[2],
        "n_fft": config.decoder.n_fft,
        "hop": config.decoder.hop,
        "rate": config.decoder.rate,
        "temperature": bundle.config.temperature,  # the runner knows no repetition penalty
    }
    with _beside(path) as beside:
        beside.write_text(json.dumps(facts, indent=1), encoding="utf-8")
