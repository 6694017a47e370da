"""Good files come out number by number; hostile and broken ones are refused, and nothing runs.

All are made on the spot; the recorded ones are in `test_containers`.
"""

from __future__ import annotations

import random
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import made
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxray.convert.detect import identify
from voxray.convert.reader import ForeignFileError, read


@pytest.fixture(autouse=True)
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that a hostile checkpoint would create."""
    path = tmp_path / "pwned"
    monkeypatch.setenv(made.PWNED, str(path))
    return path


def put(folder: Path, data: bytes, name: str = "file.pth") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_a_good_file(tmp_path: Path) -> None:
    content = made.v2_content()
    file = read(put(tmp_path, made.saved(content)))
    assert file.tag == "PK" and file.top_level == ("weight", "config", "info")
    assert file.info == "8epoch_104iteration" and file.lora_rank is None and file.notes == ()
    assert file.config == {
        "model": {"version": "v2", "gin_channels": 512, "upsample_rates": [10, 8, 2, 2, 2]},
        "data": {"sampling_rate": 32000},
        "name": "demo",
    }
    assert file.tensors.keys() == content["weight"].keys()
    for name, tensor in content["weight"].items():
        assert torch.equal(file.tensors[name], tensor) and file.tensors[name].dtype == tensor.dtype


def test_views_strides_and_number_types(tmp_path: Path) -> None:
    whole = torch.arange(24, dtype=torch.float32)
    weights = {
        "all": whole.reshape(4, 6),
        "turned": whole.reshape(4, 6).T,
        "part": whole[5:17:3],
        "parameter": torch.nn.Parameter(torch.ones(3)),
        "scalar": torch.tensor(7),
        "nothing": torch.empty(0, 3),
        "flags": torch.tensor([True, False]),
    }
    for number, dtype in enumerate((torch.float64, torch.bfloat16, torch.int32, torch.uint8)):
        weights[f"kind{number}"] = made.numbers(2, 2, dtype=dtype)
    tensors = read(put(tmp_path, made.saved({"weight": weights}))).tensors
    for name, tensor in weights.items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor.detach())


def test_a_state_dict_with_metadata(tmp_path: Path) -> None:
    """`Module.state_dict()` carries an attribute that plain dicts have not."""
    state = torch.nn.Linear(2, 2).state_dict()
    assert read(put(tmp_path, made.saved(state))).tensors.keys() == {"weight", "bias"}


def test_the_tag(tmp_path: Path) -> None:
    assert read(put(tmp_path, made.saved(made.v2_content(), b"05"))).tag == "05"
    with pytest.raises(ForeignFileError, match="unknown version tag '07'"):
        read(put(tmp_path, made.saved(made.v2_content(), b"07")))


def test_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import save

    good = save({"enc_p.a": torch.ones(2)}, {"info": "e8"})
    file = read(put(tmp_path, good, "a.safetensors"))
    assert (file.tag, file.info, list(file.tensors)) == ("", "e8", ["enc_p.a"])
    for bad in (good[:-3], (20 << 30).to_bytes(8, "little") + good[8:], good[:20]):
        with pytest.raises(ForeignFileError, match="damaged"):
            read(put(tmp_path, bad, "a.safetensors"))
    with pytest.raises(ForeignFileError, match=r"NaN.* in x: .*earlier"):
        read(put(tmp_path, save({"x": torch.tensor([float("nan")])}), "a.safetensors"))


def test_paths(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read(tmp_path / "absent.pth")
    with pytest.raises(IsADirectoryError, match="folder"):
        read(tmp_path)


def without_weight(content: dict[str, Any]) -> bytes:
    content.pop("weight")
    return made.saved(content)


def with_evil(place: str) -> bytes:
    content = made.v2_content()
    if place == "config":
        content["config"].extra = made.Evil()
    else:
        content["weight" if place == "weight" else place] = {"x": made.Evil()}
    return made.saved(content)


def renamed(old: str, new: str) -> bytes:
    """A good file with one record under another name."""

    def change(records: dict[str, bytes]) -> None:
        name = records_name(records, old)
        records[name.replace(old, new)] = records.pop(name)

    return made.repacked(good(), change)


def records_name(records: dict[str, bytes], end: str) -> str:
    return next(name for name in records if name.endswith(end))


def good() -> bytes:
    return made.saved(made.v2_content())


def flipped(data: bytes, inside: bytes) -> bytes:
    """One bit changed where `inside` is found."""
    place = data.index(inside)
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def claiming(old: bytes, new: bytes) -> bytes:
    """A good file whose data.pkl says something else."""
    return made.with_pickle(good(), lambda pickled: pickled.replace(old, new, 1))


BINARY_732, BINARY_HUGE = b"M\xdc\x02", b"\x8a\x06\x00\x00\x00\x00\x00\x01"
NUMBERS = made.numbers(1, 704).numpy().tobytes()
HOSTILE = {
    "a call in the config": (lambda: with_evil("config"), r"asks for \S*exec"),
    "a call in the weights": (lambda: with_evil("weight"), r"asks for \S*exec"),
    "a call beside them": (lambda: with_evil("other"), r"asks for \S*exec"),
    "truncated": (lambda: good()[: len(good()) * 6 // 10], "damaged"),
    "without its end": (lambda: good()[:-5], "damaged"),
    "a wrong number": (lambda: flipped(good(), NUMBERS), "CRC-32"),
    "compressed": (
        lambda: made.repacked(
            good(), lambda r: r.update({records_name(r, "data/0"): bytes(48 << 20)}),
            zipfile.ZIP_DEFLATED,
        ),
        "compressed",
    ),
    "a longer record": (
        lambda: made.repacked(
            good(), lambda r: r.update({records_name(r, "data/0"): bytes(1 << 20)})
        ),
        "bytes in place of",
    ),
    "two pickles": (
        lambda: made.repacked(good(), extra=(("archive/data.pkl", b"."),)), "two records"
    ),
    "upwards": (lambda: made.repacked(good(), extra=(("archive/../../x", b"."),)), "outside"),
    "absolute": (lambda: made.repacked(good(), extra=(("/tmp/x", b"."),)), "outside"),
    "backslashes": (lambda: made.repacked(good(), extra=(("archive\\x", b"."),)), "outside"),
    "a drive": (lambda: made.repacked(good(), extra=(("C:x", b"."),)), "outside"),
    "beside its folder": (lambda: made.repacked(good(), extra=(("b/x", b"."),)), "outside"),
    "no pickle": (lambda: renamed("data.pkl", "other"), "no data.pkl"),
    "a missing record": (lambda: renamed("data/0", "data/x"), "data/0 is missing"),
    "big-endian": (
        lambda: made.repacked(
            good(), lambda r: r.update({records_name(r, "byteorder"): b"big"})
        ),
        "little-endian",
    ),
    "a huge shape": (lambda: claiming(b"K\x00" + BINARY_732, b"K\x00" + BINARY_HUGE), "larger"),
    "a huge storage": (lambda: claiming(BINARY_732, BINARY_HUGE), "bytes in place of"),
    "a negative shape": (
        lambda: claiming(b"K\x00" + BINARY_732, b"K\x00J\xff\xff\xff\xff"), "impossible shape",
    ),
    "a far offset": (lambda: claiming(b"K\x00" + BINARY_732, b"M\xff\xff" + BINARY_732), "larger"),
    "deep": (
        lambda: made.with_pickle(good(), lambda _: b"\x80\x02" + b"]" * 20000 + b"a" * 19999 + b"."),
        "deep",
    ),
    "unknown opcode": (lambda: made.with_pickle(good(), lambda p: b"\x80\x02I1\n."), "opcode 0x49"),
    "no weights": (lambda: without_weight(made.v2_content()), "no weights"),
    "no tensors": (lambda: made.saved({"weight": {}}), "no tensors"),
    "a list": (lambda: made.saved([torch.ones(1)]), "no dict"),
    "another zip": (lambda: made.repacked(good(), lambda r: r.clear()), "no checkpoint"),
    "nothing": (lambda: b"", "empty"),
    "noise": (lambda: random.Random(0).randbytes(500), "no checkpoint"),
    "a bare pickle": (lambda: b"\x80\x02cos\nsystem\nX\x01\x00\x00\x00x\x85R.", "bare pickle"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(name: str, tmp_path: Path, marker: Path) -> None:
    make, message = HOSTILE[name]
    path = put(tmp_path, make())
    tracemalloc.start()
    try:
        with pytest.raises(ForeignFileError, match=message) as caught:
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == [path] and not marker.exists()
    assert peak < 16 << 20


def test_absurdly_many_instructions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxray.convert.opcodes.OPCODE_LIMIT", 1000)
    data = made.with_pickle(good(), lambda _: b"\x80\x02N" + b"q\0" * 2000 + b".")
    with pytest.raises(ForeignFileError, match="instructions"):
        read(put(tmp_path, data))


def test_settings_that_refer_to_themselves(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    wide: Any = "x"
    for _ in range(9):
        wide = [wide] * 10
    for value in (loop, wide):
        content = {**made.v2_content(), "config": {"x": value}}
        with pytest.raises(ForeignFileError, match="absurdly deep or large"):
            read(put(tmp_path, made.saved(content)))


def test_many_tensors_of_one_storage(tmp_path: Path) -> None:
    """A small file must not stand for any amount of numbers."""
    weight = {f"a{number}": made.numbers(100).expand(1, 100) for number in range(9)}
    shared = weight["a0"]
    weight = dict.fromkeys(weight, shared)
    weight = {name: shared.view(100) for name in weight}
    with pytest.raises(ForeignFileError, match="share"):
        read(put(tmp_path, made.saved({"weight": weight})))


def test_wrong_numbers_are_named(tmp_path: Path) -> None:
    weight = {f"layer{n}": torch.full((2,), float("inf")) for n in range(12)} | made.v2_weights()
    with pytest.raises(ForeignFileError, match=r"layer0, .*layer9 and 2 more"):
        read(put(tmp_path, made.saved({"weight": weight})))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_one_wrong_number_among_many(tmp_path: Path, dtype: torch.dtype, value: str) -> None:
    spoiled = made.numbers(333, dtype=dtype)
    spoiled[217] = float(value)
    with pytest.raises(ForeignFileError, match=r"numbers in a: "):
        read(put(tmp_path, made.saved({"weight": {"a": spoiled, "b": made.numbers(9)}})))


def test_control_characters_are_not_shown(tmp_path: Path) -> None:
    weight = {"\x1b[2J": torch.tensor([float("nan")])}
    with pytest.raises(ForeignFileError, match=r"\\u001b\[2J"):
        read(put(tmp_path, made.saved({"weight": weight})))


@pytest.fixture(scope="module")
def seed_file() -> bytes:
    return good()


@given(seed=st.integers(0, 2**32), inside=st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_mutation_is_read_or_refused(
    seed: int, inside: bool, seed_file: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    dice = random.Random(seed)
    if inside:  # behind the checksums: the pickle itself
        data = made.with_pickle(seed_file, lambda pickled: made.mutated(pickled, dice))
    else:
        data = made.mutated(seed_file, dice)
    folder = tmp_path_factory.mktemp("fuzz")
    path = put(folder, data)
    try:
        identify(read(path))
    except (ForeignFileError, OSError) as error:
        assert str(error).isprintable()
    assert list(folder.iterdir()) == [path]


def test_a_header_of_20_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    path.write_bytes((20 << 30).to_bytes(8, "little") + b'{"a": 1}')
    with pytest.raises(ForeignFileError, match=r"large\.safetensors"):
        read(path)


def test_a_file_of_20_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "large.pth"
    with path.open("wb") as file:  # a hole: nothing is stored
        file.write(b"PK\x03\x04")
        file.truncate(20 << 30)
    with pytest.raises(ForeignFileError, match="far larger than any model"):
        read(path)
