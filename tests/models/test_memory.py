"""The look-up in the reference's frames: what counts, what does not, and that it finds what it should."""

from __future__ import annotations

import pytest
import torch

from conftest import TINY
from voxray.bundle import Bundle
from voxray.models.generator import Generator, GeneratorOutput
from voxray.models.memory import Memory, MemoryReader
from voxray.sites import record, sites

PATTERN = "prior.memory.attn.pattern"


def memory(tokens: int = 12, seed: int = 0, rows: int = 1) -> Memory:
    dice = torch.Generator().manual_seed(seed)
    return Memory(
        torch.randint(0, 1024, (rows, tokens), generator=dice),
        torch.randn(rows, 96, 2 * tokens, generator=dice),
    )


@torch.inference_mode()
def spoken(
    generator: Generator, remembered: Memory | None, tokens: torch.Tensor | None = None
) -> GeneratorOutput:
    dice = torch.Generator().manual_seed(1)
    said = torch.randint(0, 1024, (1, 10), generator=dice) if tokens is None else tokens
    speaker = torch.randn(1, 256, generator=dice)
    noise = torch.randn(1, generator.config.noise_channels, 2 * said.shape[1], generator=dice)
    return generator.decode(said, torch.tensor([[4, 9, 7]]), speaker, noise, memory=remembered)


def test_what_is_remembered_is_heard(remembering: Bundle) -> None:
    generator = remembering.generator
    plain, one, other = (spoken(generator, m) for m in (None, memory(), memory(seed=5)))
    assert (plain.latents - one.latents).abs().max() > 1e-2
    assert (one.latents - other.latents).abs().max() > 1e-2
    assert not torch.equal(plain.audio, one.audio)


def test_a_generator_that_looks_nothing_up_is_unaffected(tiny: Bundle) -> None:
    assert tiny.generator.prior.memory is None and tiny.generator.hearing is None
    assert torch.equal(spoken(tiny.generator, None).audio, spoken(tiny.generator, memory()).audio)
    assert not any("memory" in name for name in sites(tiny.generator))


def test_an_empty_memory_is_none(remembering: Bundle) -> None:
    generator = remembering.generator
    nothing = spoken(generator, None)
    empty = spoken(generator, memory(0))
    assert torch.equal(nothing.audio, empty.audio)
    given = memory()
    uncounted = Memory(given.tokens, given.latents, torch.tensor([0]))
    assert torch.allclose(spoken(generator, uncounted).latents, nothing.latents, atol=1e-5)


def test_padding_is_not_looked_at(remembering: Bundle) -> None:
    """Tokens behind the length change nothing, whatever they are, the last frame's neighbours included."""
    generator, given = remembering.generator, memory(12)
    short = Memory(given.tokens[:, :8], given.latents[..., :16])
    wanted = spoken(generator, short).latents
    for seed in (7, 8):
        more = memory(4, seed)
        padded = Memory(
            torch.cat([short.tokens, more.tokens], 1),
            torch.cat([short.latents, more.latents], 2),
            torch.tensor([8]),
        )
        assert torch.allclose(spoken(generator, padded).latents, wanted, atol=1e-4)


def test_the_reader_ignores_what_is_masked(remembering: Bundle) -> None:
    reader = remembering.generator.prior.memory
    assert reader is not None
    dice = torch.Generator().manual_seed(0)
    features, joint = torch.randn(1, 24, 6, generator=dice), torch.randn(1, 16, 6, generator=dice)
    heard, unlike = torch.zeros(1, 24, 10), torch.randn(1, 96, 10, generator=dice)
    heard[..., :6] = torch.randn(1, 24, 6, generator=dice)
    mask = torch.arange(10)[None] < 6
    with torch.no_grad():
        masked = reader(features, joint, heard, unlike, mask)
        short = reader(features, joint, heard[..., :6], unlike[..., :6], None)
    for one, other in zip(masked, short, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("at", [3, 8])
def test_started_as_a_search_it_finds_the_very_tokens(at: int) -> None:
    """The reference holds, from token `at` on, what is to be said: there the most weight falls."""
    generator = searching()
    dice = torch.Generator().manual_seed(4)
    said = torch.randperm(1024, generator=dice)[:6][None]
    reference = memory(20, seed=9)
    tokens = reference.tokens.clone()
    tokens[0, at : at + 6] = said
    with record(generator, PATTERN) as seen:
        spoken(generator, Memory(tokens, reference.latents), said)
    pattern = seen[PATTERN][0][0].mean(0)[:, 1:]  # [12, 40]
    found = pattern[2:10].argmax(1) // 2  # inside: the first and last have other neighbours
    assert found.tolist() == [at + 1 + i // 2 for i in range(8)]
    assert (pattern[2:10].max(1).values > 0.3).all()


def searching() -> Generator:
    """A fresh generator whose look-up begins as a search along the code vectors' own axes."""
    prior = TINY.generator.prior.model_copy(update={"memory_width": 192, "memory_heads": 2})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = Generator(TINY.generator.model_copy(update={"prior": prior})).eval()
        generator.codebook.copy_(torch.nn.functional.normalize(torch.randn(1024, 24), dim=1))
    reader = generator.prior.memory
    assert isinstance(reader, MemoryReader)
    reader.start_from(torch.eye(72), 20.0)
    return generator
