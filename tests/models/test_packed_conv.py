"""Packed convolutions: in bf16 or float32, frames kept side by side, sites in their places."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from voxray.config import HifiganConfig
from voxray.models import decoder_hifigan
from voxray.models.decoder_hifigan import HifiganDecoder
from voxray.models.packed_conv import INSTRUCTIONS, PackedConv, best_kind, pack_convs
from voxray.sites import attach, record, sites

CONFIG = HifiganConfig(
    input_channels=6, initial_channels=16, rates=(4, 2), kernels=(8, 4), speaker_width=8
)


def some(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def decoder(*, low: bool) -> HifiganDecoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = HifiganDecoder(CONFIG).eval()
    for weight in made.parameters():
        weight.data.mul_(4)  # as loud as speech
    if low:
        made.pack(torch.bfloat16)
    return made


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv1d(6, 10, 7, padding=9, dilation=3),
        nn.Conv1d(6, 10, 3, stride=2, bias=False),
        nn.ConvTranspose1d(6, 10, 8, 4, padding=2),
    ],
)
@torch.inference_mode()
def test_the_same_map_in_bf16(conv: nn.Module) -> None:
    x = some(2, 6, 31)
    wanted = conv(x)
    made = PackedConv(conv)(x.to(torch.bfloat16))  # type: ignore[arg-type]
    assert made.shape == wanted.shape and made.dtype == torch.bfloat16
    assert (made.float() - wanted).norm() / wanted.norm() < 1e-2


@torch.inference_mode()
def test_frames_stay_side_by_side() -> None:
    packed = PackedConv(nn.Conv1d(6, 10, 3, padding=1))
    made = packed(some(1, 6, 31).to(torch.bfloat16))
    assert made.stride()[1:] == (1, 10)
    assert torch.nn.functional.leaky_relu(made, 0.1).stride() == made.stride()


@torch.inference_mode()
def test_the_decoder_in_bf16_is_the_decoder() -> None:
    plain, low = decoder(low=False), decoder(low=True)
    z, speaker = some(2, 6, 12), some(2, 8, 1)
    wanted, made = plain(z, speaker), low(z, speaker)
    assert made.dtype == torch.float32 and made.shape == wanted.shape
    assert (made - wanted).norm() / wanted.norm() < 3e-2
    assert any(isinstance(module, PackedConv) for module in low.modules())
    assert type(low.after) is nn.Conv1d


@torch.inference_mode()
def test_its_sites_stay_and_can_be_edited() -> None:
    plain, low = decoder(low=False), decoder(low=True)
    assert sites(low).keys() == sites(plain).keys()
    z, speaker = some(1, 6, 12), some(1, 8, 1)
    with record(low, "stages.*") as seen:
        wanted = low(z, speaker)
    assert [tuple(values[0].shape) for values in seen.values()] == [(1, 8, 48), (1, 4, 96)]
    with attach(low, {"stages.0": lambda x: x.contiguous() * 1.0}):  # another order in memory
        assert torch.allclose(low(z, speaker), wanted, atol=1e-2)


@torch.inference_mode()
def test_packed_in_float32_the_decoder_loses_nothing() -> None:
    plain, packed = decoder(low=False), decoder(low=False)
    packed.pack(torch.float32)
    z, speaker = some(2, 6, 200), some(2, 8, 1)
    wanted, made = plain(z, speaker), packed(z, speaker)
    assert isinstance(packed.before, PackedConv)
    assert (made - wanted).norm() / wanted.norm() < 1e-5


@pytest.mark.parametrize(
    ("present", "kind"),
    [
        ((), torch.float32),  # AVX2, or AVX512 without bf16: products of bf16 would be imitated
        (INSTRUCTIONS[:1], torch.bfloat16),
        (INSTRUCTIONS[1:], torch.bfloat16),
    ],
)
def test_the_processor_says_what_is_fastest(
    present: tuple[str, ...], kind: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in INSTRUCTIONS:
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name in present, raising=False)
    assert best_kind() == kind


def test_a_torch_that_does_not_know_its_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in INSTRUCTIONS:
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert best_kind() == torch.float32


def test_what_is_no_plain_convolution_stays() -> None:
    odd = nn.Sequential(nn.Conv1d(6, 6, 3, groups=2), nn.Conv1d(6, 6, 3, padding="same"))
    assert pack_convs(odd) == 0


@torch.inference_mode()
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("frames", [31, 60, 63, 64, 65, 200])
def test_long_latents_are_decoded_in_blocks_of_a_few_lengths(
    frames: int, kind: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_hifigan, "BLOCKS", {kind: (64, 60)})
    low, lengths = decoder(low=False), []
    low.pack(kind)
    assert low.reach == 28
    sound = HifiganDecoder._sound

    def counted(self: HifiganDecoder, z: torch.Tensor, speaker: torch.Tensor) -> torch.Tensor:
        lengths.append(z.shape[2])
        return sound(self, z, speaker)

    monkeypatch.setattr(HifiganDecoder, "_sound", counted)
    z, speaker = some(1, 6, frames), some(1, 8, 1)
    made = low(z, speaker)
    assert set(lengths) == ({64 if frames >= 64 else 60 if frames >= 60 else frames})
    assert torch.allclose(
        made, sound(low, z, speaker), atol=1e-2 if kind == torch.bfloat16 else 1e-6
    )
    lengths.clear()
    with record(low, "stages.1") as seen:  # who looks sees all of it
        low(z, speaker)
    assert lengths == [frames] and seen["stages.1"][0].shape[2] == 8 * frames
    assert decoder(low=False)(z, speaker).shape == made.shape
