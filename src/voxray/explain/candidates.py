"""The candidate causes of an event, each as the change that takes it away.

In the GPT: words and marks (their embeddings replaced by the mean of the text), heads and layers (their
output replaced by its mean over the utterance, in the rows that predict the event), the style prompt
(not looked at). In the generator: the tokens of the word (their code vectors replaced by the mean code),
heads of the cross-attention, couplings (their shift replaced by its mean), the speaker vector, what is
remembered of the reference (both exchanged for those of the built-in voices), and the memory's two roads one by
one: the look-up in the prior, and the fine latents that are copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.generator import Generator
from ..sites import Moment, record
from ..voice import Voice, builtin_names
from ..watch import SHUT
from . import replay
from .memory import looks_up, other_look_up, other_memory, other_retrieval
from .patching import AtRows, Change, Plain
from .replay import Passage, Spoken


@dataclass(frozen=True)
class Usual:
    """Means over one utterance: text content [D], head outputs [L][H, D/H], what layers add [L][D]."""

    content: Tensor
    heads: tuple[Tensor, ...]
    layers: tuple[Tensor, ...]


@torch.inference_mode()
def usual(speech: Spoken, passage: Passage) -> Usual:
    """Read the utterance once, as it was said, and take the means."""
    gpt = speech.models.gpt
    names = ["embed", "blocks.*.attn.z", "blocks.*.resid"]
    with record(gpt, names) as seen:
        replay.read(speech, passage)
    rows = speech.rows(passage)
    text = seen["embed"][0][0, : passage.text] - place_vectors(speech, passage)
    stream = [seen["embed"][0], *(seen[f"blocks.{i}.resid"][0] for i in range(len(gpt.blocks)))]
    return Usual(
        text.mean(0),
        tuple(seen[f"blocks.{i}.attn.z"][0][0, rows].mean(0) for i in range(len(gpt.blocks))),
        tuple((after - before)[0, rows].mean(0) for before, after in zip(stream, stream[1:])),
    )


def place_vectors(speech: Spoken, passage: Passage) -> Tensor:
    """What the positions add to the text's embeddings, [P, D]."""
    position = speech.models.gpt.text_position
    return position.alpha * position.table[: passage.text]


def in_the_gpt(speech: Spoken, passage: Passage, begin: int) -> Iterator[Change]:
    """Changes of the GPT in the rows that predict tokens from `begin` on."""
    config = speech.models.gpt.config
    means = usual(speech, passage)
    at = functions_from(speech, passage, begin)
    yield from words(speech, passage, means)
    for layer in range(config.n_layer):
        for head in range(config.n_head):
            function = at(_set_head(head, means.heads[layer][head]))
            yield Change("head", f"{layer}.{head}", {f"blocks.{layer}.attn.z": function})
    for layer in range(config.n_layer):
        yield Change("layer", str(layer), _skip(layer, means.layers[layer], at))
    if passage.prompt:
        look_away = _shut_prompt(passage)
        sites = {f"blocks.{layer}.attn.bias": look_away for layer in range(config.n_layer)}
        yield Change("prompt", "the style prompt", sites)


def functions_from(
    speech: Spoken, passage: Passage, begin: int
) -> Callable[[Callable[[Tensor], Tensor]], AtRows]:
    """Turns a function of rows into an edit of the rows from token `begin` on."""
    before = speech.rows(passage).start - passage.text

    def at(function: Callable[[Tensor], Tensor]) -> AtRows:
        def edit(x: Tensor, moment: Moment) -> Tensor:
            start = moment.text + before + begin - moment.positions.start
            if start >= x.shape[1]:
                return x
            x = x.clone()
            x[:, max(0, start) :] = function(x[:, max(0, start) :])
            return x

        return edit

    return at


def _set_head(head: int, mean: Tensor) -> Callable[[Tensor], Tensor]:
    def function(z: Tensor) -> Tensor:  # [B, Q, H, D/H]
        z = z.clone()
        z[:, :, head] = mean
        return z

    return function


def _skip(layer: int, mean: Tensor, at: Callable[..., AtRows]) -> dict[str, AtRows]:
    """A layer adds what it adds on average, whatever comes in."""
    held: list[Tensor] = []

    def keep(x: Tensor, moment: Moment) -> Tensor:
        held[:] = [x]
        return x

    def function(x: Tensor) -> Tensor:
        return held[0][:, -x.shape[1] :] + mean

    before = "embed" if layer == 0 else f"blocks.{layer - 1}.resid"
    return {before: keep, f"blocks.{layer}.resid": at(function)}


def words(speech: Spoken, passage: Passage, means: Usual) -> Iterator[Change]:
    """Every word and every mark, made meaningless in both halves of the model."""
    place = place_vectors(speech, passage)
    names = speech.synthesis.phonemes.words
    items = speech.synthesis.phonemes.items
    for group in groups(passage):
        rows = [passage.first + i for i in group]
        word = passage.words[group[0]]
        symbol = " ".join(items[passage.items[i]].symbol for i in group)
        name = names[word].text if word >= 0 else symbol
        kind = "word" if word >= 0 else "mark"
        gpt = _blank(rows, means.content + place[rows])
        yield Change(kind, name, {"embed": gpt}, {"prior.text": _blank_columns(group)})


def groups(passage: Passage) -> list[list[int]]:
    """Phonemes of the passage by word; neighbouring pauses together."""
    made: list[list[int]] = []
    for place, word in enumerate(passage.words):
        if made and passage.words[made[-1][-1]] == word:
            made[-1].append(place)
        else:
            made.append([place])
    return made


def _blank(rows: list[int], values: Tensor) -> AtRows:
    def edit(x: Tensor, moment: Moment) -> Tensor:  # [B, L, D]
        if moment.positions.start:
            return x
        x = x.clone()
        x[:, rows] = values
        return x

    return edit


def _blank_columns(columns: list[int]) -> Plain:
    def edit(text: Tensor) -> Tensor:  # [B, D, P]
        text = text.clone()
        text[:, :, columns] = text.mean(2, keepdim=True)
        return text

    return edit


def _shut_prompt(passage: Passage) -> AtRows:
    speech_end = passage.text + len(passage.prompt)

    def edit(bias: Tensor, moment: Moment) -> Tensor:  # [B, H, Q, K]
        start = max(0, speech_end - moment.positions.start)
        bias = bias.clone()
        bias[:, :, start:, : passage.first] += SHUT
        bias[:, :, start:, passage.text : speech_end] += SHUT
        return bias

    return edit


def in_the_generator(
    speech: Spoken, passage: Passage, begin: int, tokens: tuple[int, ...]
) -> Iterator[Change]:
    """Changes of the generator in the frames from token `begin` on; `tokens` are the word's."""
    generator = replay.variational(speech.models)
    for token in dict.fromkeys(tokens):
        code = generator.codebook[token]
        yield Change("token", str(token), generator={"codes": _without_code(code)})
    for head in range(generator.prior.attn.heads):
        function = _mean_head_frames(head, 2 * begin)
        yield Change("prior head", str(head), generator={"prior.attn.z": function})
    for number in range(len(generator.flow.couplings)):
        function = mean_shift(generator, number, speech.voice.speaker, 2 * begin)
        name = f"flow.couplings.{number}.out"
        yield Change("coupling", str(number), generator={name: function})
    yield Change("speaker", "the speaker vector", speaker=common_voice(speech))
    if looks_up(speech):
        remembered = "what is remembered of the reference"
        yield Change("memory", remembered, generator=other_memory(speech))
        yield Change(
            "look-up", "what is looked up in the reference", generator=other_look_up(speech)
        )
        if generator.config.retrieval:
            copied = "the fine detail copied from the reference"
            yield Change("retrieval", copied, generator=other_retrieval(speech))


def _without_code(code: Tensor) -> Plain:
    def edit(codes: Tensor) -> Tensor:  # [B, 2S, C]
        hit = (codes == code).all(2, keepdim=True)
        return torch.where(hit, codes.mean(1, keepdim=True), codes)

    return edit


def _mean_head_frames(head: int, start: int) -> Plain:
    def edit(z: Tensor) -> Tensor:  # [B, T, H, D/H]
        z = z.clone()
        z[:, start:, head] = z[:, :, head].mean(1, keepdim=True)
        return z

    return edit


def mean_shift(generator: Generator, number: int, speaker: Tensor, start: int) -> Plain:
    """A coupling of the inverse flow shifts by its mean over time from a frame on."""
    coupling = generator.flow.couplings[number]

    def edit(out: Tensor) -> Tensor:  # [B, C, T]
        first, second = out[:, : coupling.half], out[:, coupling.half :]
        mask = out.new_ones(1, 1, out.shape[2])
        shift = coupling._shift(first, mask, speaker[None, :, None])
        second = second.clone()
        second[:, :, start:] += (shift - shift.mean(2, keepdim=True))[:, :, start:]
        return torch.cat([first, second], dim=1)

    return edit


def common_voice(speech: Spoken) -> Tensor:
    """The mean of the built-in voices, if they are of this model; else no speaker at all."""
    own = speech.voice.speaker
    voices = [Voice.builtin(name) for name in builtin_names()]
    vectors = [v.speaker for v in voices if v.model == speech.models.hears_as]
    fitting = [vector for vector in vectors if vector.shape == own.shape]
    return torch.stack(fitting).mean(0) if fitting else torch.zeros_like(own)
