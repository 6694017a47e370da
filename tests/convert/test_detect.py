"""The version is told by the tensors; tags must agree with them; contradictions are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import made
import pytest
from torch import Tensor

from voxray.convert.detect import LABELS, Identity, identify, require
from voxray.convert.reader import ForeignFile, ForeignFileError


def foreign(
    tensors: dict[str, Tensor], tag: str = "PK", md5: str = "", **changes: Any
) -> ForeignFile:
    file = ForeignFile(
        Path("a.pth"), tag, tensors, ("weight", "config", "info"), {}, "", None, (), md5
    )
    return replace(file, **changes)


def pro(width: int = 512) -> dict[str, Tensor]:
    return made.v2_weights() | {
        "sv_emb.weight": made.numbers(2, 2),
        "ref_enc.fc.fc.weight": made.numbers(1024, 1),
        "dec.conv_pre.weight": made.numbers(width, 1, 1),
    }


def lora(rank: int = 4) -> dict[str, Tensor]:
    return made.lora_content(rank)["weight"]


def test_versions_by_content() -> None:
    assert identify(foreign(made.v2_weights(322, 1025))).version == "v1"
    v2 = identify(foreign(made.v2_weights()))
    assert (v2.kind, v2.version, v2.symbols, v2.posterior) == ("s2", "v2", 732, False)
    assert all(reason.endswith(".") for reason in v2.reasons)
    assert any("732 text symbols" in reason for reason in v2.reasons)
    assert identify(foreign(pro())).version == "v2pro"
    assert identify(foreign(pro(768))).label == "v2ProPlus"
    full = made.v2_weights() | {"enc_q.pre.weight": made.numbers(1)}
    assert identify(foreign(full)).posterior


@pytest.mark.parametrize("tag, version", [("02", "v3")])
def test_whole_matching_models_by_tag(tag: str, version: str) -> None:
    assert identify(foreign(made.matching_weights(), tag)).version == version


def test_v3_and_v4_must_be_told_from_outside() -> None:
    file = foreign(made.matching_weights(), config={"model": {"version": "v4"}})
    with pytest.raises(ForeignFileError, match=r"v3 or v4.*its config says v4.*version v3 or") as e:
        identify(file)
    assert str(e.value).startswith("a.pth: ")
    assert identify(file, "v4").version == "v4"
    assert identify(file, "V3").version == "v3"
    known = foreign(made.matching_weights(), md5="4f26b9476d0c5033e04162c486074374")
    identity = identify(known)
    assert identity.version == "v4" and any("s2Gv4" in reason for reason in identity.reasons)
    with pytest.raises(ForeignFileError, match="contradictory"):
        identify(known, "v3")


@pytest.mark.parametrize(
    "tensors, tag, version",
    [
        (made.v2_weights(322, 704), "PK", None),
        (made.v2_weights(732, 1025), "PK", None),
        (made.v2_weights(), "05", None),
        (made.v2_weights(), "00", None),
        (made.v2_weights(), "PK", "v1"),
        (made.v2_weights() | made.matching_weights(), "PK", None),
        (pro(), "06", None),
        (pro() | {"ref_enc.fc.fc.weight": made.numbers(512, 1)}, "PK", None),
        (made.matching_weights(), "03", None),
        (made.matching_weights(), "02", "v4"),
        (lora(), "02", None),
        (made.s1_content()["weight"], "05", None),
        (made.s1_content()["weight"], "PK", "v1"),
        (made.s1_content(512)["weight"], "PK", "v2"),
    ],
)
def test_contradictions(tensors: dict[str, Tensor], tag: str, version: str | None) -> None:
    with pytest.raises(ForeignFileError, match="contradictory"):
        identify(foreign(tensors, tag), version)


@pytest.mark.parametrize(
    "tensors, message",
    [
        ({"some.weight": made.numbers(1)}, "no model of the family"),
        (made.v2_weights(500), "500 text symbols"),
        ({"enc_p.x": made.numbers(1), "ref_enc.y": made.numbers(1)}, "incomplete"),
        (made.s1_content(600)["weight"], "600 text rows"),
        (made.v2_weights() | {made.TEXT: made.numbers(732).sum()}, "0 text symbols"),
    ],
)
def test_unknown_content(tensors: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ForeignFileError, match=message):
        identify(foreign(tensors))


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(ForeignFileError, match=r"'v9' is no version.*v2ProPlus"):
        identify(foreign(made.v2_weights()), "v9")


def test_loras() -> None:
    identity = identify(foreign(lora(), "04", lora_rank=4))
    assert (identity.kind, identity.version, identity.lora_rank) == ("s2-lora", "v4", 4)
    silent = identify(foreign(lora(), "03"))
    assert silent.lora_rank == 4 and any("does not state" in r for r in silent.reasons)
    with pytest.raises(ForeignFileError, match="states rank 8, its tensors have rank 4"):
        identify(foreign(lora(), "03", lora_rank=8))
    with pytest.raises(ForeignFileError, match="v3 or v4"):
        identify(foreign(lora()))
    halves = {name: t for name, t in lora().items() if "lora_B" not in name}
    with pytest.raises(ForeignFileError, match="pairs"):
        identify(foreign(halves, "03"))


def test_other_kinds() -> None:
    one = made.numbers(1)
    vocoder = {"conv_pre.weight": one, "ups.0.weight": one, "conv_post.weight": one}
    for tensors, kind, version in (
        (vocoder, "vocoder-v4", "v4"),
        (vocoder | {"activation_post.act.alpha": one}, "bigvgan", "v3"),
        ({"conv1.weight": one, "bn1.bias": one, "layer1.0.x": one}, "speaker-verification", ""),
        ({"discriminators.0.convs.0.bias": one}, "discriminator", ""),
        (made.s1_content(512)["weight"], "s1", "v1"),
        (made.s1_content()["weight"], "s1", "v2"),
    ):
        identity = identify(foreign(tensors))
        assert (identity.kind, identity.version, identity.unknown) == (kind, version, ())


def test_unknown_tensors_are_reported() -> None:
    identity = identify(foreign(made.v2_weights() | {"prelu.weight_t": made.numbers(1)}))
    assert identity.unknown == ("prelu.weight_t",)
    assert "prelu.weight_t" in identity.reasons[-1]


def test_a_config_that_disagrees_is_remarked() -> None:
    file = foreign(made.v2_weights(), config={"model": {"version": "v2Pro"}})
    assert any("Its config says v2Pro" in reason for reason in identify(file).reasons)


def identity(kind: Any, version: str = "v2") -> Identity:
    label = LABELS.get(version, "")
    return Identity(Path("a.pth"), kind, version, label, None, False, None, (), ())


@pytest.mark.parametrize(
    "given, message",
    [
        (identity("s1"), r"an s1 file of v2 .*give it as the GPT"),
        (identity("s2-lora", "v4"), r"a LoRA of v4 .*base"),
        (identity("training-state"), "a training state of v2 .*exported"),
        (identity("vocoder-v4", "v4"), r"the vocoder of v4 .*along with an s2"),
        (identity("speaker-verification", ""), "speaker-verification"),
    ],
)
def test_the_wrong_kind_is_refused(given: Identity, message: str) -> None:
    require(given, given.kind)
    with pytest.raises(ForeignFileError, match=message) as caught:
        require(given, "s2")
    assert "needed is an s2 file (tokens to sound)" in str(caught.value)


def test_training_states() -> None:
    keys = ("model", "iteration", "optimizer", "learning_rate")
    state = identify(foreign(made.v2_weights(), top_level=keys))
    assert (state.kind, state.version) == ("training-state", "v2")
