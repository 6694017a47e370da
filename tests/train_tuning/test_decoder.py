"""The decoder alone: grown without a change of what it says, and taught by latents that were written before."""

from __future__ import annotations

import pytest
import torch

from voxray.bundle import Bundle
from voxray.models.generator import Generator
from voxray.train.decoder import grown


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
