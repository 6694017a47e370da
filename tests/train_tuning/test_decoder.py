"""The decoder alone: grown without a change of what it says, and taught by latents that were written before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from voxray.bundle import Bundle
from voxray.config import SpectralDiscriminatorConfig
from voxray.models.discriminators import SpectralDiscriminators
from voxray.models.generator import Generator
from voxray.models.posterior_mel import MelPosterior
from voxray.train.decoder import grown
from voxray.train.listening import told_loss
from voxray.train.losses import judged_losses
from voxray.train.polish import PolishTraining, begun_judge
from voxray.train.run import Run
from voxray.train.training_file import JUDGE, TRAINING_FILE


@pytest.mark.parametrize(
    "wanted", [{"layers": 4}, {"speaker_width": 256}, {"layers": 3, "speaker_width": 256}]
)
def test_a_grown_decoder_says_what_it_said(tiny: Bundle, wanted: dict[str, int]) -> None:
    small = tiny.generator.config
    config = small.model_copy(update={"decoder": small.decoder.model_copy(update=wanted)})
    model = Generator(small)
    large = grown(model, config)
    z, noise = torch.randn(1, 96, 10), torch.randn(1, 4_800)
    said, again = (m.decoder(z, torch.randn(1, 256), noise).audio for m in (model, large))
    assert torch.allclose(said, again, atol=1e-6)
    new = set(large.state_dict()) - set(model.state_dict())
    assert new and all(name.startswith("decoder.blocks.") for name in new)
    large.decoder(z, torch.randn(1, 256), noise).audio.square().mean().backward()
    learns = {n for n, p in large.decoder.named_parameters() if p.grad is not None and p.grad.any()}
    first = ".narrow." if "layers" in wanted else ".style."  # a new block's style waits for its map
    assert {n.removeprefix("decoder.") for n in new if first in n} <= learns


def test_only_a_decoder_grows(tiny: Bundle) -> None:
    small = tiny.generator.config
    model = Generator(small)
    wide = small.model_copy(update={"decoder": small.decoder.model_copy(update={"width": 24})})
    with pytest.raises(ValueError, match="only grows"):
        grown(model, wide)
    deep = small.model_copy(update={"flow": small.flow.model_copy(update={"couplings": 4})})
    with pytest.raises(ValueError, match="only grows"):
        grown(model, deep)


def test_discriminators_go_on_from_a_run_or_a_model(tmp_path: Path) -> None:
    first = begun_judge(PolishTraining())
    Run(tmp_path / "run", {"judge": first}).save()
    state = {f"{JUDGE}{k}": v.half() for k, v in first.state_dict().items()}
    save_file(state, tmp_path / TRAINING_FILE)
    for folder in (tmp_path / "run", tmp_path):
        larger = SpectralDiscriminatorConfig(periods=(2,), width=32)
        again = begun_judge(PolishTraining(judge=str(folder), discriminators=larger))
        assert len(again.discriminators) == 5
        for name, value in first.state_dict().items():
            assert torch.allclose(again.state_dict()[name], value, atol=1e-3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no discriminators"):
        begun_judge(PolishTraining(judge=str(tmp_path / "empty")))
    with pytest.raises(ValueError, match="other sizes"):
        begun_judge(
            PolishTraining(
                judge=str(tmp_path), discriminators=SpectralDiscriminatorConfig(channels=8)
            )
        )


def test_rows_that_are_not_compared_have_only_to_sound_real() -> None:
    judge = SpectralDiscriminators(SpectralDiscriminatorConfig(periods=(2,), width=32))
    wave, made = 0.1 * torch.randn(3, 9_600), 0.1 * torch.randn(3, 9_600)
    made.requires_grad_()
    band = torch.ones(3)
    rows = judged_losses(judge, made, wave, band, True, 1)
    alone = judged_losses(judge, made[:1], wave[:1], band[:1], True)
    for name in ("spectrum", "features"):
        assert torch.allclose(rows[name], alone[name], atol=1e-5)
        gradient = torch.autograd.grad(rows[name], made, retain_graph=True)[0]
        assert gradient[0].any() and not gradient[1:].any()
    gradient = torch.autograd.grad(rows["adversary"], made)[0]
    assert all(row.any() for row in gradient)


def test_what_is_told_and_heard_again_is_faithful(tiny: Bundle) -> None:
    model = Generator(tiny.generator.config)
    assert isinstance(model.posterior, MelPosterior)
    wave = 0.1 * torch.randn(2, 9_600)
    z = model.posterior.linear(wave, torch.full((2, 40), 150.0))
    assert float(told_loss(model, wave, z)) < 1e-5
    assert float(told_loss(model, 0.5 * wave, z)) > 0.01
    model.posterior = None
    with pytest.raises(ValueError, match="hears no latents"):
        told_loss(model, wave, z)
