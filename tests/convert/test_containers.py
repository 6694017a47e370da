"""The recorded containers: what must load comes out number by number, the rest is refused, nothing runs.

They lie in the folder that VOXRAY_PARITY names, else beside the checkout; skipped where absent.
"""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import made
import pytest

import recorded
from voxray.convert.detect import identify, require
from voxray.convert.reader import ForeignFileError, read

CONTAINERS = recorded.FOLDER / "containers"
EXPECTED: dict[str, Any] = (
    json.loads((CONTAINERS / "expected.json").read_text()) if CONTAINERS.is_dir() else {}
)
needed = pytest.mark.skipif(not EXPECTED, reason="the recorded containers are not here")

REFUSED = {  # file: what the message must name
    "s2_v2_legacy_format.pth": "before 1.6", "evil_os_system.pth": "posix.system",
    "evil_os_system_head05.pth": "posix.system", "evil_in_config.pth": "exec",
    "evil_in_weight.ckpt": "posix.system", "evil_raw_pickle.pth": "bare pickle",
    "evil_legacy_format.pth": "before 1.6", "evil_getattr_hparams.pth": "getattr",
    "evil_hparams_state.pth": "__class__", "zip_traversal.pth": "outside",
    "zip_duplicate_pkl.pth": "two records", "zip_bomb.pth": "compressed",
    "truncated.pth": "damaged", "corrupt_crc.pth": "CRC-32", "empty.pth": "empty",
    "random.pth": "no checkpoint", "head_unknown.pth": "unknown version tag '09'",
    "s2_v2_labelled_05.pth": "contradictory", "s2_mixed_version.pth": "contradictory",
    "s2_no_weight.pth": "no weights", "s2_empty_weight.pth": "no tensors",
    "s2_nan.pth": "ref_enc.fc.fc.weight, flow.flows.0.pre.weight",
    "absurd_shape_overlap.pth": "larger than its storage",
    "absurd_shape_storage.pth": "larger than its storage",
    "absurd_offset.pth": "larger than its storage", "negative_size.pth": "impossible shape",
    "deep_pickle.pth": "deep", "missing_record.pth": "missing",
    "s2_lora_wrong_rank.pth": "states rank 64, its tensors have rank 16",
}  # fmt: skip
IDENTIFIED = {  # file: kind, version, anything more
    "s2_v1_finetune.pth": ("s2", "v1", {"symbols": 322, "posterior": False}),
    "s2_v2_finetune.pth": ("s2", "v2", {"symbols": 732, "posterior": False}),
    "s2_v2Pro_finetune_head05.pth": ("s2", "v2pro", {"label": "v2Pro"}),
    "s2_v2ProPlus_finetune_head06.pth": ("s2", "v2proplus", {"label": "v2ProPlus"}),
    "s2_v3_lora_head03.pth": ("s2-lora", "v3", {"lora_rank": 16, "symbols": None}),
    "s2_v4_lora_head04.pth": ("s2-lora", "v4", {"lora_rank": 16}),
    "s2_head00.pth": ("s2", "v1", {}),
    "s2_head01.pth": ("s2", "v2", {}),
    "s2_head02.pth": ("s2", "v3", {}),
    "s2_v2_pretrained_style.pth": ("s2", "v2", {"posterior": True}),
    "G_training_state.pth": ("training-state", "v2", {"posterior": True}),
    "s1_v2_finetune.ckpt": ("s1", "v2", {"symbols": 732}),
    "s1_named_as_s2.pth": ("s1", "v2", {"symbols": 732}),
    "s1_v1_fp32.ckpt": ("s1", "v1", {"symbols": 512}),
    "vocoder_v4_bare.pth": ("vocoder-v4", "v4", {"symbols": None}),
    "s2_v2_bf16.pth": ("s2", "v2", {}),
    "s2_v2_shared_storage.pth": ("s2", "v2", {"unknown": ("prelu.weight_t",)}),
    "s2_no_config.pth": ("s2", "v2", {}),
    "s2_lora_no_rank.pth": ("s2-lora", "v4", {"lora_rank": 16}),
}


@pytest.fixture(autouse=True)
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that a hostile checkpoint would create."""
    path = tmp_path / "pwned"
    monkeypatch.setenv(made.PWNED, str(path))
    return path


@needed
def test_every_container_has_its_case() -> None:
    files = {p.name for p in CONTAINERS.iterdir() if p.suffix in (".pth", ".ckpt")}
    assert files == REFUSED.keys() | IDENTIFIED.keys()


@needed
@pytest.mark.parametrize("name", IDENTIFIED)
def test_good_containers(name: str, marker: Path) -> None:
    file = read(CONTAINERS / name)
    kind, version, more = IDENTIFIED[name]
    identity = identify(file)
    found = (identity.kind, identity.version, {key: getattr(identity, key) for key in more})
    assert found == (kind, version, more)
    expected = EXPECTED.get(name, {})
    if "tensors" in expected:
        assert file.tensors.keys() == expected["tensors"].keys()
    for tensor_name, (dtype, shape, total) in expected.get("tensors", {}).items():
        tensor = file.tensors[tensor_name]
        assert (str(tensor.dtype), list(tensor.shape)) == (f"torch.{dtype}", shape)
        assert float(tensor.double().sum()) == pytest.approx(total, rel=1e-9, abs=1e-9)
    assert list(file.top_level) == (expected.get("top_level_keys") or list(file.top_level))
    assert file.info == expected.get("info", file.info)
    assert file.lora_rank == expected.get("lora_rank")
    assert not marker.exists()


@needed
@pytest.mark.parametrize("name", REFUSED)
def test_refused_containers(name: str, marker: Path) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ForeignFileError) as caught:
            identify(read(CONTAINERS / name))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert REFUSED[name] in message and message.startswith(f"{CONTAINERS / name}: ")
    assert "\n" not in message and message.isprintable()
    assert not marker.exists()
    assert peak < 16 << 20


@needed
def test_settings_and_remarks() -> None:
    assert read(CONTAINERS / "s1_v2_finetune.ckpt").config["data"]["max_sec"] == 54  # type: ignore[index]
    config = read(CONTAINERS / "s2_v2_finetune.pth").config
    assert config is not None and config["model"]["version"] == "v2"
    assert json.loads(json.dumps(config)) == config
    assert any("no config" in note for note in read(CONTAINERS / "s2_no_config.pth").notes)
    state = read(CONTAINERS / "G_training_state.pth")
    assert any("iteration" in note for note in state.notes)


@needed
def test_what_is_offered_in_the_wrong_place() -> None:
    for name, kind in (
        ("s1_named_as_s2.pth", "an s1 file"),
        ("G_training_state.pth", "training state"),
        ("s2_v4_lora_head04.pth", "LoRA"),
        ("vocoder_v4_bare.pth", "vocoder"),
    ):
        with pytest.raises(ForeignFileError, match=kind):
            require(identify(read(CONTAINERS / name)), "s2")
