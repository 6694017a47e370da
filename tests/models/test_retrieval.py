"""Fine latents come from the frame most alike, of what counts, and for every frame by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from conftest import TINY, with_memory
from voxray.bundle import Bundle
from voxray.joining import PieceDecoder
from voxray.models import retrieval
from voxray.models.calibration import corrected
from voxray.models.generator import Generator
from voxray.models.memory import Memory
from voxray.models.prior import Heard
from voxray.models.retrieval import alike, at_pace, nearest, retrieved, shares
from voxray.sites import record
from voxray.voice import Voice

KEPT = 16


@pytest.fixture(autouse=True)
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is nearest is taken: random frames are never really alike."""
    monkeypatch.setattr(retrieval, "TRUSTED", 1e9)


def frames(
    count: int, seed: int = 0, rows: int = 1, mask: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, Heard]:
    """Latents [rows, 96, count] and code vectors [rows, 24, count] (two frames each), and both as heard."""
    dice = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, 96, count, generator=dice)
    codes = torch.randn(rows, 24, count // 2, generator=dice).repeat_interleave(2, dim=2)
    return z, codes, Heard(codes, z, mask)


def cut(heard: Heard, begin: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and code vectors of some of the frames."""
    return heard.latents[..., begin:end], heard.features[..., begin:end]


def test_the_very_frames_are_found() -> None:
    """What the reference holds comes back exactly, however wrong its fine latents were predicted."""
    _, _, heard = frames(60)
    z, codes = cut(heard, 20, 36)
    coarse = z.clone()
    coarse[:, KEPT + 12 :] = 0  # behind what is compared
    assert nearest(coarse, codes, heard)[0, 2:-2].tolist() == list(range(22, 34))
    made = retrieved(coarse, codes, heard, KEPT)
    assert torch.equal(made[..., 2:-2], z[..., 2:-2])


def test_what_is_kept_stays_and_the_rest_is_one_frame_of_the_reference() -> None:
    z, codes, _ = frames(20, seed=1)
    heard = frames(30, seed=2)[2]
    made, index = retrieved(z, codes, heard, KEPT), nearest(z, codes, heard)[0]
    assert torch.equal(made[:, :KEPT], z[:, :KEPT])
    assert torch.equal(made[0, KEPT:], heard.latents[0, KEPT:, index])
    assert len(index.unique()) > 3


def test_a_mean_of_several_frames_leans_to_the_nearest() -> None:
    z, codes, _ = frames(20, seed=1)
    heard = frames(30, seed=2)[2]
    index, cost = alike(z, codes, heard, 4)
    assert torch.equal(index[..., 0], nearest(z, codes, heard)) and (cost.diff(dim=2) >= 0).all()
    weights, _ = shares(cost)
    assert torch.allclose(weights.sum(2), torch.ones(1, 20)) and (weights.diff(dim=2) <= 0).all()
    made = retrieved(z, codes, heard, KEPT, 4)
    wanted = (heard.latents[0][:, index[0]] * weights[0]).sum(2)
    assert torch.allclose(made[0, KEPT:], wanted[KEPT:], atol=1e-6)
    few = Heard(heard.features[..., :2], heard.latents[..., :2])  # fewer than are asked for
    assert torch.isfinite(retrieved(z, codes, few, KEPT, 4)).all()


@pytest.mark.parametrize("several", [1, 4])
@pytest.mark.parametrize("counts", [(10, 30), (2, 4), (1, 0)])
def test_frames_that_do_not_count_are_never_taken(counts: tuple[int, int], several: int) -> None:
    """Not even where they are the very frames to be spoken; rows without any stay as they were."""
    mask = torch.arange(30)[None] < torch.tensor(counts)[:, None]
    heard = frames(30, seed=2, rows=2, mask=mask)[2]
    z, codes = cut(heard, 10, 30)
    index, made = nearest(z, codes, heard), retrieved(z, codes, heard, KEPT, several)
    for row, count in enumerate(counts):
        if count:
            assert int(index[row].max()) < count
            if several == 1:
                assert torch.equal(made[row, KEPT:], heard.latents[row, KEPT:, index[row]])
            else:  # what does not count is nowhere in the mean
                other = heard.latents.clone()
                other[row, :, count:] = 1e3
                again = retrieved(z, codes, replace(heard, latents=other), KEPT, several)
                assert torch.equal(made[row], again[row])
        else:
            assert torch.equal(made[row], z[row])


def test_padding_and_company_change_nothing() -> None:
    """A row finds in a padded batch what it finds alone: the last frame that counts has no neighbour."""
    short = frames(12, seed=3)[2]
    z, codes, _ = frames(40, seed=4)
    wanted = nearest(z, codes, short)
    more = frames(8, seed=5)[2]
    mask = torch.arange(20)[None] < 12
    padded = Heard(
        torch.cat([short.features, 0 * more.features], 2),
        torch.cat([short.latents, more.latents], 2),
        mask,
    )
    assert torch.equal(nearest(z, codes, padded), wanted)


def test_what_is_unlike_everything_heard_stays_as_predicted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retrieval, "TRUSTED", 1.9)
    _, _, heard = frames(60)
    z, codes = cut(heard, 20, 36)
    strange, foreign, _ = frames(16, seed=5)
    found = retrieved(torch.cat([z, 4 * strange], 2), torch.cat([codes, -foreign], 2), heard, KEPT)
    assert torch.equal(found[..., 1:14], z[..., 1:14])
    assert torch.allclose(found[..., 18:], 4 * strange[..., 2:], atol=1e-5)


def test_without_a_reference_nothing_changes() -> None:
    z, codes, heard = frames(10)
    assert retrieved(z, codes, None, KEPT) is z
    assert retrieved(z, codes, Heard(heard.features[..., :0], z[..., :0]), KEPT) is z


def test_codes_are_stretched_to_the_latents() -> None:
    """At half the speed every frame of the reference is found where it is said twice as long."""
    _, _, heard = frames(40, seed=6)
    slow = heard.latents[..., 10:20].repeat_interleave(2, dim=2)
    index = nearest(slow, heard.features[..., 10:20].repeat_interleave(2, dim=2), heard)
    made = retrieved(slow, heard.features[..., 10:20], heard, KEPT)
    assert torch.equal(made[0, KEPT:], heard.latents[0, KEPT:, index[0]])


def test_a_part_finds_what_the_whole_finds() -> None:
    """Two frames of context on each side: one that is compared, and one token beside it."""
    z, codes, _ = frames(60, seed=7)
    heard = frames(50, seed=8)[2]
    whole = retrieved(z, codes, heard, KEPT)
    part = retrieved(z[..., 20:44], codes[..., 20:44], heard, KEPT)
    assert torch.equal(part[..., 4:-4], whole[..., 24:40])


def test_gradients_reach_what_is_kept_and_nothing_else() -> None:
    z, codes, heard = frames(12, seed=9)
    other = frames(20, seed=10)[2]
    leaf, known = z.clone().requires_grad_(), other.latents.clone().requires_grad_()
    retrieved(leaf, codes, Heard(other.features, known), KEPT).sum().backward()
    assert leaf.grad is not None and known.grad is not None
    assert bool((leaf.grad[:, :KEPT] == 1).all()) and not leaf.grad[:, KEPT:].any()
    assert not known.grad[:, :KEPT].any() and float(known.grad[:, KEPT:].sum()) == 80 * 12


@torch.inference_mode()
@pytest.mark.parametrize("speed", [0.7, 1.0, 1.6])
def test_the_generator_speaks_from_it(remembering: Bundle, voice: Voice, speed: float) -> None:
    """The decoder reads kept latents of the flow and fine ones of single frames of the reference."""
    generator, memory = remembering.generator, with_memory(voice).memory
    assert generator.config.retrieval == KEPT and memory is not None
    dice = torch.Generator().manual_seed(1)
    noise = torch.randn(1, generator.config.noise_channels, 60, generator=dice)
    with record(generator, ["flow.couplings.0.out", "codes", "correction", "retrieved"]) as seen:
        made = generator.decode(
            torch.arange(20)[None], torch.tensor([[4, 9, 7]]), voice.speaker[None], noise, speed,
            memory=memory,
        )  # fmt: skip
    z = seen["retrieved"][0]
    assert torch.equal(made.latents, z)
    assert z.shape[2] == (40 if speed == 1 else int(40 / speed) + 1)
    said, correction = seen["flow.couplings.0.out"][0], seen["correction"][0]
    coarse = corrected(said, at_pace(seen["codes"][0].transpose(1, 2), said), correction)
    assert torch.equal(z[:, :KEPT], coarse[:, :KEPT])
    assert not torch.equal(z[:, :KEPT], said[:, :KEPT])
    apart = (z[0, KEPT:, :, None] - memory.latents[0, KEPT:, None].float()).abs().amax(0)
    assert not apart.min(1).values.any()


@torch.inference_mode()
def test_chunks_speak_from_the_same_frames(remembering: Bundle, voice: Voice) -> None:
    ids, tokens = [5, 9, 7, 8, 6, 11], torch.arange(70).tolist()
    made = []
    for steps in ((0, 70), (0, 24, 48, 70)):
        sound = PieceDecoder(remembering, ids, voice.speaker, 3, memory=with_memory(voice).memory)
        for a, b in zip(steps, steps[1:]):
            sound.decode(tokens, a, b, last=b == 70, path=[i * 6 // 70 for i in range(70)])
        made.append(torch.cat([torch.as_tensor(z) for z in sound.latents], dim=1)[KEPT:])
    same = (made[0] == made[1]).all(0)
    assert float(same.float().mean()) > 0.95  # coarse latents differ a little where chunks meet


def test_generators_without_it_do_as_before(tiny: Bundle) -> None:
    assert tiny.generator.config.retrieval == 0
    z, codes, heard = frames(10)
    assert tiny.generator.detailed(z, codes, heard) is z
    prior = TINY.generator.prior.model_copy(update={"memory_width": 128})
    looking = TINY.generator.model_copy(update={"prior": prior})
    plain = Generator(looking)
    both = Generator(looking.model_copy(update={"retrieval": KEPT}))
    assert plain.state_dict().keys() == both.state_dict().keys()


def test_a_memory_of_nothing_is_none(remembering: Bundle) -> None:
    z, codes, _ = frames(10)
    generator = remembering.generator
    empty = Memory(torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, 96, 0))
    assert torch.equal(generator.detailed(z, codes, generator.heard(empty)), z)


def test_a_model_without_a_memory_cannot_retrieve() -> None:
    with pytest.raises(ValueError, match="memory_width"):
        Generator(TINY.generator.model_copy(update={"retrieval": KEPT}))
