"""A cut carries everything; a layer that writes nothing carries nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from tests_explain import loud, opened

from voxray.bundle import Bundle
from voxray.explain.conductance import layer_conductance, updates


def test_the_stream_after_any_layer_carries_the_whole_difference(tiny: Bundle) -> None:
    made = opened(loud(tiny))
    part = made.passages[0].passage
    cuts = ["blocks.0.resid", "blocks.1.resid"]
    found = layer_conductance(made.spoken, part, names=cuts, steps=32)
    assert abs(found.delta) > 0.1
    assert found.shares() == pytest.approx(dict.fromkeys(cuts, 1.0), abs=0.1)


def test_a_silent_layer_carries_nothing(tiny: Bundle) -> None:
    quiet = loud(tiny)
    quiet.gpt = copy.deepcopy(quiet.gpt)
    with torch.no_grad():
        quiet.gpt.blocks[0].attn.out.weight.zero_()
        quiet.gpt.blocks[0].feedforward.down.weight.zero_()
    made = opened(quiet)
    found = layer_conductance(made.spoken, made.passages[0].passage, steps=4)
    assert list(found.sites) == updates(made.spoken)
    assert found.by_layer()[0] == pytest.approx(0, abs=1e-6)
    assert found.by_layer()[1] == pytest.approx(1)


def test_energy_through_expected_codes(tiny: Bundle) -> None:
    made = opened(tiny)
    found = layer_conductance(made.spoken, made.passages[0].passage, "energy", steps=2)
    assert len(found.sites) == 4 and found.claim == "correlational"
