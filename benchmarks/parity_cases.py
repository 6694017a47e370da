"""Recorded cases of the published models, run through voxray: what `parity.py` compares.

Each function takes a `Case` (the recorded arrays, and the weights by their published names) and
yields pairs (name of the array, what voxray computes). All in float32, on one item at a time unless
the case is a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from voxray.convert import family
from voxray.decoding import TokenDecoder
from voxray.models.generator import Generator
from voxray.models.gpt import GPT
from voxray.models.layers import fuse_weight_norm, length_mask
from voxray.models.prior import PriorOutput, Window
from voxray.sampling import SamplingOptions, filtered, penalise
from voxray.sites import record
from voxray.train.losses import (
    adversarial_loss,
    discriminator_loss,
    feature_loss,
    kl_divergence,
)

Pairs = Iterator[tuple[str, Any]]
GREEDY = SamplingOptions(top_k=1)
NEVER_EARLY = SamplingOptions(top_k=1, floor=0)


@dataclass
class Case:
    """One recorded file: arrays, notes, and the weights that it was recorded with."""

    name: str
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]
    weights: dict[str, Tensor]
    models: dict[str, Any]  # kept between cases with the same weights
    table: Callable[[str, int], dict[str, Tensor]]  # weights of another key table, by a seed

    @property
    def version(self) -> str:
        """Our name of the model's version."""
        return str(self.meta.get("variant", "")).lower()

    def tensor(self, name: str) -> Tensor:
        """A recorded array."""
        return torch.from_numpy(self.arrays[name])

    def batch(self, name: str) -> Tensor:
        """A recorded array with a batch axis in front."""
        return self.tensor(name)[None]

    def has(self, name: str) -> bool:
        """Whether the array was recorded."""
        return name in self.arrays

    def model(self, kind: str, build: Callable[[], Any]) -> Any:
        """A module for these weights, built once."""
        if kind not in self.models:
            self.models[kind] = build()
        return self.models[kind]


def gpt_of(case: Case) -> GPT:
    """The GPT stage with the case's weights, its last row changed where the case says so."""
    weights = dict(case.weights)
    row = case.meta.get("eos_row_from")
    if row is not None:
        name = "model.ar_predict_layer.weight"
        head = weights[name].clone()
        head[case.meta["eos"]] = 1.01 * head[row]
        weights[name] = head
    return case.model(f"gpt{row}", lambda: family.build_gpt(case.version, weights))


def generator_of(case: Case) -> Generator:
    """The SoVITS stage, weight normalisation baked in (as in use)."""

    def build() -> Generator:
        generator = family.build_generator(case.version, case.weights)
        fuse_weight_norm(generator)
        return generator

    return case.model("generator", build)


def _context(case: Case, name: str = "bert") -> Tensor:
    return case.tensor(name).T[None].contiguous()  # [1, P, 1024]


def teacher(case: Case) -> Pairs:
    """Teacher-forced logits and their loss."""
    gpt = gpt_of(case)
    tokens = torch.cat([case.tensor("prompt"), case.tensor("continuation")])[None]
    text = case.batch("phones")
    last = f"blocks.{len(gpt.blocks) - 1}.resid"
    with record(gpt, ["embed", last]) as seen:
        logits = gpt(text, torch.tensor([text.shape[1]]), tokens, context=_context(case))[0]
    yield "xy_embedded", seen["embed"][0][0]
    yield "hidden", seen[last][0][0]
    yield "logits", logits
    targets = torch.cat([tokens[0], torch.tensor([gpt.end])])
    yield "targets", targets
    yield "loss_sum", functional.cross_entropy(logits, targets, reduction="sum")


def decoded(case: Case) -> Pairs:
    """Tokens one by one, as `say` makes them: greedy, reference-free, to the end token."""
    gpt = gpt_of(case)
    prompt = case.arrays["prompt"].tolist() if case.has("prompt") else []
    decoder = TokenDecoder(
        gpt,
        case.arrays["phones"].tolist(),
        GREEDY,
        0,
        prompt_tokens=prompt,
        limit=case.meta["early_stop_num"] + 1,
        context=_context(case),
    )
    with record(gpt, "logits") as seen:
        decoder.advance()
    yield "tokens", torch.tensor(prompt + decoder.tokens)
    rows = torch.cat([step[:, -1] if step.dim() == 3 else step for step in seen["logits"]])
    if case.has("logits_all"):
        yield "logits_all", rows
    else:
        yield "logits_first20", rows[:20]


def batched(case: Case) -> Pairs:
    """Two texts of unequal length side by side in one batch."""
    gpt = gpt_of(case)
    phones = [case.tensor("phones0"), case.tensor("phones1")]
    lengths = torch.tensor([len(p) for p in phones])
    text = torch.nn.utils.rnn.pad_sequence(phones, batch_first=True)
    contexts = [case.tensor(name).T for name in ("bert0", "bert1")]
    context = torch.nn.utils.rnn.pad_sequence(contexts, batch_first=True)
    prompt = case.tensor("prompt")
    logits, cache = gpt.prefill(text, lengths, prompt[None].expand(2, -1), context)
    made: list[list[int]] = [prompt.tolist(), prompt.tolist()]
    first = []
    for step in range(case.meta["early_stop_num"]):
        if step < len(case.arrays["logits_first8"]):
            first.append(logits)
        for row, tokens in zip(logits, made, strict=True):
            row = row[: gpt.end] if step < GREEDY.floor else row
            present = torch.tensor(sorted(set(tokens)))
            tokens.append(int(penalise(row, present, GREEDY.repetition_penalty).argmax()))
        logits = gpt.step(torch.tensor([tokens[-1] for tokens in made]), cache)
    yield "tokens0", torch.tensor(made[0])
    yield "tokens1", torch.tensor(made[1])
    yield "logits_first8", torch.stack(first)


def sampler(case: Case) -> Pairs:
    """Probabilities left by penalty, nucleus, temperature and top-k."""
    logits = case.tensor("logits")
    present = torch.tensor(sorted(set(case.arrays["previous"].tolist())))

    def probabilities(scores: Tensor, setting: tuple[float, ...]) -> Tensor:
        top_k, top_p, temperature, penalty = setting
        options = SamplingOptions(
            top_k=int(top_k),
            top_p=float(top_p),
            temperature=float(temperature),
            repetition_penalty=float(penalty),
        )
        kept = filtered(penalise(scores, present, options.repetition_penalty), options)
        return kept.softmax(-1)

    rows = [probabilities(logits, tuple(row)) for row in case.arrays["settings"].tolist()]
    yield "probs", torch.stack(rows)
    yield "probs_no_eos", probabilities(logits[:-1], (15, 1.0, 1.0, 1.35))


def codes(case: Case) -> Pairs:
    """HuBERT features -> projection -> nearest codes."""
    quantiser = case.model("quantiser", lambda: family.build_quantiser(case.weights))
    vectors = quantiser.project(case.batch("ssl").transpose(1, 2))  # [1, S, 768]
    yield "ssl_proj", vectors[0].T
    yield "codes", quantiser.codes(vectors)[0]


def _speaker(case: Case, generator: Generator, number: str = "") -> Tensor:  # [1, G, 1]
    vector = generator.speaker(case.batch(f"refer_spec{number}"))
    if generator.fusion is not None:
        vector = generator.fusion(vector, case.tensor(f"sv{number}").reshape(1, -1))
    return vector


def _prior(
    case: Case,
    generator: Generator,
    speaker: Tensor,
    speed: float = 1.0,
    tokens: Tensor | None = None,
    window: Window | None = None,
) -> PriorOutput:
    tokens = case.tensor("codes").reshape(1, -1) if tokens is None else tokens
    features = generator.features(tokens)
    text = case.batch("phones")
    return generator.prior(
        features,
        torch.tensor([features.shape[2]]),
        text,
        torch.tensor([text.shape[1]]),
        speaker,
        speed,
        window,
    )


def _wave(generator: Generator, out: PriorOutput, speaker: Tensor) -> tuple[Tensor, Tensor]:
    """Latents after the reversed flow and the sound, without noise."""
    z = generator.flow.inverse(out.mean, out.mask, speaker)
    audio, _ = generator.decoder.speak(z, speaker[..., 0], z.new_zeros(1, 0))
    return z[0], audio[0]


def decode(case: Case) -> Pairs:
    """Tokens, phones and reference -> every intermediate -> wave."""
    generator = generator_of(case)
    speaker = _speaker(case, generator)
    yield "ge", speaker[0]
    yield "ge_mrte", generator.prior.speaker_in(speaker)[0]
    names = ["attn.pattern", "text", "content", "joint"]
    with record(generator.prior, names) as seen:
        out = _prior(case, generator, speaker)
    yield "encoder_ssl", seen["content"][0][0]
    yield "encoder_text", seen["text"][0][0]
    yield "mrte_attention", seen["attn.pattern"][0][0]
    yield "mrte", seen["joint"][0][0]
    yield "m_p", out.mean[0]
    yield "logs_p", out.log_std[0]
    z, wave = _wave(generator, out, speaker)
    yield "z", z
    yield "wave", wave


def decode_speed(case: Case) -> Pairs:
    """The same at 1.25 and 0.8 times the speed."""
    generator = generator_of(case)
    speaker = _speaker(case, generator)
    fast = _prior(case, generator, speaker, 1.25)
    yield "y_features_125", fast.features[0]
    yield "m_p_125", fast.mean[0]
    yield "logs_p_125", fast.log_std[0]
    yield "wave_125", _wave(generator, fast, speaker)[1]
    slow = _prior(case, generator, speaker, 0.8)
    yield "wave_080", _wave(generator, slow, speaker)[1]


def decode_two(case: Case) -> Pairs:
    """Two references: the mean of their speaker vectors."""
    generator = generator_of(case)
    speaker = (_speaker(case, generator, "0") + _speaker(case, generator, "1")) / 2
    yield "ge", speaker[0]
    out = _prior(case, generator, speaker)
    yield "m_p", out.mean[0]
    z, wave = _wave(generator, out, speaker)
    yield "z", z
    yield "wave", wave


def streaming(case: Case) -> Pairs:
    """Two chunks: the first without its last two tokens, the second faded in over four frames."""
    generator = generator_of(case)
    speaker = _speaker(case, generator)
    tokens = case.tensor("codes").reshape(1, -1)
    first, second = case.arrays["y1"].shape[1], case.arrays["y2"].shape[1]
    begun = first // 2 + 2  # two tokens of look-ahead
    one = _prior(case, generator, speaker, tokens=tokens[:, :begun], window=Window(0, first))
    yield "y1", one.features[0]
    yield "wave1", _wave(generator, one, speaker)[1]
    end = 2 * tokens.shape[1]
    window = Window(end - second, end, one.features[:, :, -4:])
    two = _prior(case, generator, speaker, window=window)
    yield "y2", two.features[0]
    yield "wave2", _wave(generator, two, speaker)[1]


def training(case: Case) -> Pairs:
    """The training direction: posterior, flow, prior, KL, and a slice of sound; a padded batch."""
    generator = generator_of(case)
    quantiser = case.model("quantiser", lambda: family.build_quantiser(case.weights))
    spectrogram, lengths = case.tensor("spec"), case.tensor("lengths").long()
    mask = length_mask(lengths, spectrogram.shape[2])
    speaker = generator.speaker(spectrogram * mask, lengths)  # [2, G, 1]
    yield "ref_enc", speaker[..., 0]
    if generator.fusion is not None:
        speaker = generator.fusion(speaker, case.tensor("sv").reshape(len(lengths), -1))
    yield "ge", speaker[..., 0]
    vectors = quantiser.project(case.tensor("ssl").transpose(1, 2))
    tokens = quantiser.codes(vectors)
    yield "codes", tokens
    out = generator.prior(
        generator.features(tokens),
        lengths,
        case.tensor("phones"),
        case.tensor("phone_lengths").long(),
        speaker,
    )
    yield "m_p", out.mean
    yield "logs_p", out.log_std
    seen = generator.posterior(spectrogram, lengths, speaker)
    yield "m_q", seen.mean
    yield "logs_q", seen.log_std
    flowed = generator.flow(seen.z, seen.mask, speaker)
    yield "z_p", flowed
    yield "kl", kl_divergence(flowed, seen.log_std, out.mean, out.log_std, seen.mask)
    part = seen.z[:, :, 4:12]
    audio, _ = generator.decoder.speak(part, speaker[..., 0], part.new_zeros(len(part), 0))
    yield "wave_slice", audio


def discriminators(case: Case) -> Pairs:
    """Logits, sums of all feature maps, and the three losses."""
    judge = case.model(
        "discriminators", lambda: family.build_discriminators(case.version, case.weights)
    )
    real, made = (judge(case.tensor(name)[None, None]) for name in ("wave", "wave_generated"))
    for kind, judgements in (("real", real), ("generated", made)):
        for number, judgement in enumerate(judgements):
            yield f"logits_{kind}_{number}", judgement.logits[0]
        maps = [features for judgement in judgements for features in judgement.features]
        rows = [[float(m.double().sum()), float(m.double().abs().sum()), m.numel()] for m in maps]
        yield f"fmap_sum_{kind}", torch.tensor(rows)
    yield "feature_loss", feature_loss(real, made)
    yield "discriminator_loss", discriminator_loss(real, made)
    yield "generator_loss", adversarial_loss(made)


CASES: list[tuple[str, Callable[[Case], Pairs]]] = [
    (r"^s1_sampler$", sampler),
    (r"^s1_.*_teacher$", teacher),
    (r"^s1_.*_batch$", batched),
    (r"^s1_.*_(greedy|reffree|eos|eos_early)$", decoded),
    (r"^s2_.*_codes$", codes),
    (r"^s2_.*_decode$", decode),
    (r"^s2_.*_decode_speed$", decode_speed),
    (r"^s2_.*_decode_tworef$", decode_two),
    (r"^s2_.*_streaming$", streaming),
    (r"^s2_.*_training$", training),
    (r"^disc_", discriminators),
]
