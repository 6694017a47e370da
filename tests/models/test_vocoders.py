"""The published vocoders: hop and range, the smooth activation, sites; the recorded waves."""

from __future__ import annotations

import pytest
import torch

import recorded
from voxray.config import BigVGANConfig, HifiganConfig
from voxray.convert.rename import adopt
from voxray.convert.rules_matching import BIGVGAN, VOCODER
from voxray.models.decoder_bigvgan import BigVGANDecoder, SmoothSnake, low_pass
from voxray.models.decoder_hifigan import HifiganDecoder
from voxray.models.layers import fuse_weight_norm
from voxray.sites import attach, record, sites

TINY = BigVGANConfig(n_mels=6, initial_channels=16, rates=(4, 2), kernels=(8, 4))
PUBLISHED_V4 = HifiganConfig(
    input_channels=100,
    initial_channels=512,
    rates=(10, 6, 2, 2, 2),
    kernels=(20, 12, 4, 4, 4),
    speaker_width=0,
    final_bias=True,
)


def some(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture()
def tiny() -> BigVGANDecoder:
    torch.manual_seed(0)
    model = BigVGANDecoder(TINY)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@torch.no_grad()
def test_a_frame_becomes_a_hop_of_samples_within_one(tiny: BigVGANDecoder) -> None:
    wave = tiny(1e4 * some(2, 6, 5))
    assert tiny.hop == 8 and wave.shape == (2, 1, 40)
    assert wave.abs().max() == 1.0  # loud enough to be clamped


def test_the_low_pass_filter_is_even_and_sums_to_one() -> None:
    taps = low_pass(12, 0.25, 0.3)
    assert taps.shape == (12,)
    assert torch.allclose(taps, taps.flip(0)) and torch.isclose(taps.sum(), torch.tensor(1.0))


@torch.no_grad()
def test_the_activation_keeps_what_is_constant_as_the_formula_says() -> None:
    snake = SmoothSnake(3, 12)
    snake.frequency.copy_(torch.tensor([0.0, 0.5, -0.5]))
    snake.damping.copy_(torch.tensor([0.2, 0.0, -0.2]))
    x = torch.tensor([0.3, -1.0, 2.0])[:, None].expand(3, 20)
    expected = x + (x * snake.frequency.exp()[:, None]).sin() ** 2 / snake.damping.exp()[:, None]
    assert torch.allclose(snake(x[None])[0], expected, atol=1e-2)  # the filter ripples by .3 %
    assert snake(some(1, 3, 7)).shape == (1, 3, 7)


@torch.no_grad()
def test_fused_weights_make_the_same_wave(tiny: BigVGANDecoder) -> None:
    mel = 0.1 * some(1, 6, 4)
    before = tiny(mel)
    assert torch.allclose(fuse_weight_norm(tiny)(mel), before, atol=1e-5)


@torch.no_grad()
def test_every_site_can_be_watched_and_edited(tiny: BigVGANDecoder) -> None:
    mel = 0.1 * some(1, 6, 4)
    assert sites(tiny).keys() == {"stages.0", "stages.1"}
    with record(tiny) as seen:
        plain = tiny(mel)
    assert seen["stages.0"][0].shape == (1, 8, 16) and seen["stages.1"][0].shape == (1, 4, 32)
    for name in sites(tiny):
        with attach(tiny, {name: lambda x: 0.5 * x}):
            assert not torch.equal(tiny(mel), plain)
    assert torch.equal(tiny(mel), plain)


@recorded.needed
@pytest.mark.slow
@pytest.mark.chosen
@torch.no_grad()
@pytest.mark.parametrize(
    ("table", "wave"), [("vocoder_v4", "wave"), ("vocoder_v4_weightnorm", "wave_weightnorm")]
)
def test_vocoder_of_v4(table: str, wave: str) -> None:
    case = recorded.case("vocoder_v4")
    model = HifiganDecoder(PUBLISHED_V4).eval()
    if not table.endswith("weightnorm"):
        fuse_weight_norm(model)
    adopt(model, recorded.weights(table), VOCODER)
    recorded.assert_close(model(case["mel"][None]), case[wave])


@recorded.needed
@pytest.mark.slow
@torch.no_grad()
def test_bigvgan() -> None:
    case = recorded.case("bigvgan_24k")
    model = fuse_weight_norm(BigVGANDecoder(BigVGANConfig()).eval())
    adopt(model, recorded.weights("bigvgan_24k"), BIGVGAN)
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str) -> object:
        return lambda module, inputs, output: seen.update({name: output[0]})

    for name in ("before", "upsampling.0", "last_activation"):
        model.get_submodule(name).register_forward_hook(keep(name))
    wave = model(case["mel"][None])
    recorded.assert_close(seen["before"], case["conv_pre"])
    # Recorded at block 0, but the reference adds the other two onto it in place: the sum of three.
    recorded.assert_close(3 * seen["upsampling.0"][:32], case["resblock0_rows0to31"])
    recorded.assert_close(seen["last_activation"], case["activation_post"])
    recorded.assert_close(wave, case["wave"])


@recorded.needed
@pytest.mark.slow
@pytest.mark.chosen
def test_every_weight_normed_name_of_bigvgan_has_its_place() -> None:
    with torch.device("meta"):
        model = BigVGANDecoder(BigVGANConfig())
    adopt(model, recorded.blanks("bigvgan_24k_weightnorm"), BIGVGAN)
