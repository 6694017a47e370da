"""docs/sites.md is what the models say; every site has a description."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from voxray.bundle import Bundle
from voxray.explain.catalogue import catalogue, described
from voxray.sites import sites

DOCS = Path(__file__).parents[2] / "docs"


def test_every_site_is_described_and_counted(tiny: Bundle) -> None:
    parts = {name: getattr(tiny, name) for name in ("gpt", "generator", "content", "quantiser")}
    places = catalogue(parts)
    assert sum(place.count for place in places) == len(sites(parts))
    heads = next(place for place in places if place.name == "gpt.blocks.{i}.attn.z")
    assert heads.count == 2 and heads.shape == "[B, Q, H, D/H]"
    with pytest.raises(ValueError, match="no description"):
        described("gpt.blocks.{i}.attn.zz")


@pytest.mark.slow
def test_the_file_is_current() -> None:
    spec = importlib.util.spec_from_file_location("make_sites", DOCS / "make_sites.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (DOCS / "sites.md").read_text("utf-8")
    assert text == module.page(), "run python docs/make_sites.py"
