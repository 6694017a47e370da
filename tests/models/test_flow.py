"""Flow: exact inverse, conditioning, masks, fused weight normalisation."""

from __future__ import annotations

import pytest
import torch

from voxray.config import FlowConfig
from voxray.models.flow import Flow
from voxray.models.layers import fuse_weight_norm, length_mask
from voxray.sites import attach, record

CONFIG = FlowConfig(channels=6, hidden=8, layers=2, couplings=2, speaker_width=4)


@pytest.fixture()
def flow() -> Flow:
    torch.manual_seed(0)
    flow = Flow(CONFIG).eval()
    for coupling in flow.couplings:  # trained: no longer the identity
        torch.nn.init.normal_(coupling.after.weight, std=0.5)
    return flow


def inputs() -> tuple[torch.Tensor, ...]:
    dice = torch.Generator().manual_seed(0)
    mask = length_mask(torch.tensor([10, 6]), 10)
    z = torch.randn(2, 6, 10, generator=dice) * mask
    return z, mask, torch.randn(2, 4, 1, generator=dice)


@torch.no_grad()
def test_inverse_undoes_forward(flow: Flow) -> None:
    z, mask, speaker = inputs()
    moved = flow(z, mask, speaker)
    assert (moved - z).abs().max() > 0.1
    assert torch.allclose(flow.inverse(moved, mask, speaker), z, atol=1e-5)
    assert torch.allclose(flow(flow.inverse(z, mask, speaker), mask, speaker), z, atol=1e-5)


@torch.no_grad()
def test_volume_is_preserved(flow: Flow) -> None:
    z, mask, speaker = inputs()
    z, mask, speaker = z[:1, :, :2], mask[:1, :, :2], speaker[:1]
    jacobian = torch.autograd.functional.jacobian(lambda x: flow(x, mask, speaker), z)
    assert torch.allclose(jacobian.view(12, 12).det().abs(), torch.ones(()), atol=1e-4)


@torch.no_grad()
def test_speaker_and_padding(flow: Flow) -> None:
    z, mask, speaker = inputs()
    whole = flow(z, mask, speaker)
    assert not torch.allclose(whole, flow(z, mask, -speaker), atol=1e-3)
    alone = flow(z[1:, :, :6], mask[1:, :, :6], speaker[1:])
    assert torch.allclose(alone, whole[1:, :, :6], atol=1e-5)
    assert whole[1, :, 6:].abs().max() == 0


@torch.no_grad()
def test_fusing_weight_norm_keeps_the_function(flow: Flow) -> None:
    before = flow(*inputs())
    fuse_weight_norm(flow)
    assert not any("parametrizations" in name for name in flow.state_dict())
    assert torch.allclose(flow(*inputs()), before, atol=1e-5)


@torch.no_grad()
def test_sites_run_in_both_directions(flow: Flow) -> None:
    z, mask, speaker = inputs()
    with record(flow, "couplings.*.out") as seen:
        moved = flow(z, mask, speaker)
        flow.inverse(moved, mask, speaker)
    assert [len(values) for values in seen.values()] == [2, 2]
    with attach(flow, {"couplings.0.out": lambda x: x * 0}):
        assert not torch.equal(flow(z, mask, speaker), moved)
