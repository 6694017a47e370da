"""Files that published models need, fetched from the hub: `pull(["encoders"], folder)`.

Every file is pinned by size and SHA-256 at one revision of the repository, so that it does not matter who
hands it out (`endpoint`: the hub or a mirror of it). A broken-off transfer goes on where it stopped, in
this run or the next; a file appears under its name only when its hash is right. Nothing is fetched
unless asked. The hashes are those that independent projects publish for this revision.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath

ENDPOINT = "https://huggingface.co"
REPOSITORY = "lj1995/GPT-SoVITS"
REVISION = "336b2ec4e8d4ac74740798dd40af44e74659ecaf"
BLOCK = 1 << 18
TRIES = 5  # in a row without a single byte
PATIENCE = 30.0  # seconds without a byte
Progress = Callable[[str, int, int], None]  # file, bytes so far, bytes in all


@dataclass(frozen=True)
class Pinned:
    """A file of the repository, and what it must be."""

    path: str
    size: int
    sha256: str
    place: str = ""  # under the target folder, where it differs from `path`

    @property
    def target(self) -> PurePosixPath:
        """Where it belongs under the target folder."""
        return PurePosixPath(self.place or self.path)


_SPEECH = Pinned(
    "s1v3.ckpt", 155_284_856, "87133414860ea14ff6620c483a3db5ed07b44be42e2c3fcdad65523a729a745a"
)
SETS: dict[str, tuple[Pinned, ...]] = {
    "hubert": (
        Pinned("chinese-hubert-base/config.json", 1_449,
               "c3e5060a1277e0f078cc6be9da4528a605dba6ece93018981fe2c820e5c7b103"),
        Pinned("chinese-hubert-base/preprocessor_config.json", 212,
               "dcd684124d06722947939d41ea6ae58dbf10968c60a11a29f23ddc602c64a29b"),
        Pinned("chinese-hubert-base/pytorch_model.bin", 188_811_417,
               "24164f129c66499d1346e2aa55f183250c223161ec2770c0da3d3b08cf432d3c"),
    ),
    "roberta": (
        Pinned("chinese-roberta-wwm-ext-large/config.json", 963,
               "3d57de2fd7e80d0e5c8ff194f0bbb6baa10df7e43fc262a0cc71298a78b0a3e5"),
        Pinned("chinese-roberta-wwm-ext-large/tokenizer.json", 268_962,
               "173796956820ea27bd14f76bf28162607ff4254807e2948253eb5b46f5bb643b"),
        Pinned("chinese-roberta-wwm-ext-large/pytorch_model.bin", 651_225_145,
               "e53a693acc59ace251d143d068096ae0d7b79e4b1b503fa84c9dcf576448c1d8"),
    ),
    "speaker": (
        Pinned("sv/pretrained_eres2netv2w24s4ep4.ckpt", 107_528_697,
               "4f5a0bf73c61eb41b174e1bb54e7ee3c83233892be8e0af1f187024e8e581a35",
               "pretrained_eres2netv2w24s4ep4.ckpt"),
    ),
    "v2pro": (
        _SPEECH,
        Pinned("v2Pro/s2Gv2Pro.pth", 162_303_657,
               "0f8ead815234365edf045c6d86370ed6e4f440e8195be77ff0ea72684ad406a5"),
    ),
    "v2proplus": (
        _SPEECH,
        Pinned("v2Pro/s2Gv2ProPlus.pth", 200_125_741,
               "d42a22bbbf65fb2bbdd45ad6a66841156977db45c7aabe0a6992ff378d9c7d3b"),
    ),
    "v4": (
        _SPEECH,
        Pinned("gsv-v4-pretrained/s2Gv4.pth", 769_025_545,
               "906fe22f48c3e037a389df291d4d32a9414e15dbb8f9628643e83aaced109ea4"),
        Pinned("gsv-v4-pretrained/vocoder.pth", 57_781_109,
               "4d611913df7b12d49e8976c944558d2d096816365edfc6c35a9e85b67dd14ed9"),
    ),
}  # fmt: skip
GROUPS = {"encoders": ("hubert", "roberta", "speaker")}


class _Stopped(OSError):
    """The transfer broke off; it can go on."""


def wanted(names: Sequence[str]) -> list[Pinned]:
    """The files of some sets, each once; ValueError for an unknown name."""
    files: dict[str, Pinned] = {}
    for name in names:
        for part in GROUPS.get(name, (name,)):
            if part not in SETS:
                known = ", ".join([*GROUPS, *SETS])
                raise ValueError(f"there is nothing named {name!r} to pull; choose among {known}")
            files.update((file.path, file) for file in SETS[part])
    return list(files.values())


def pull(
    names: Sequence[str],
    folder: Path,
    *,
    endpoint: str = ENDPOINT,
    progress: Progress | None = None,
    wait: float = 1.0,
) -> list[Path]:
    """Fetch the files of some sets into `folder`; returns their paths.

    What is there with the right hash is not fetched again. ValueError where a hash is wrong, OSError
    where the network or the disk gives up; what has come so far is kept for the next time.
    """
    files = wanted(names)
    _check_endpoint(endpoint)
    _check_room(files, folder)
    return [_fetched(file, folder, endpoint, progress, wait) for file in files]


def _check_endpoint(endpoint: str) -> None:
    if urllib.parse.urlsplit(endpoint).scheme not in ("http", "https"):
        raise ValueError(f"the endpoint {endpoint!r} is no http(s) address")


def _check_room(files: Sequence[Pinned], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    missing = sum(
        file.size - _size(_part(folder / file.target))
        for file in files
        if not (folder / file.target).exists()
    )
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise OSError(
            f"{missing / 1e6:.0f} MB are to come, but {folder} has only {free / 1e6:.0f} MB free"
        )


def _fetched(
    file: Pinned, folder: Path, endpoint: str, progress: Progress | None, wait: float
) -> Path:
    target = folder / file.target
    tell = (lambda done: progress(file.path, done, file.size)) if progress else (lambda _: None)
    if _size(target) == file.size and _hash(target) == file.sha256:
        tell(file.size)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _part(target)
    address = f"{endpoint.rstrip('/')}/{REPOSITORY}/resolve/{REVISION}/{_quoted(file.path)}"
    if _size(part) > file.size:
        part.unlink()
    _persist(address, part, file.size, tell, wait)
    found = _hash(part)
    if found != file.sha256:
        part.unlink()
        raise ValueError(
            f"{file.path} from {endpoint} is not the file that is wanted (SHA-256 {found[:12]}..., "
            f"not {file.sha256[:12]}...); it was thrown away: try again or another endpoint"
        )
    os.replace(part, target)
    return target


def _persist(address: str, part: Path, size: int, tell: Callable[[int], None], wait: float) -> None:
    """Ask until all is there, or until nothing comes any more."""
    failures = 0
    while _size(part) < size:
        before = _size(part)
        try:
            _receive(address, part, size, tell)
        except (_Stopped, TimeoutError, ConnectionError, HTTPException, urllib.error.URLError) as e:
            if isinstance(e, urllib.error.HTTPError) and e.code < 500 and e.code != 429:
                raise OSError(f"{address}: the server says {e.code} {e.reason}") from e
            failures = 0 if _size(part) > before else failures + 1
            if failures >= TRIES:
                raise OSError(
                    f"{address}: {getattr(e, 'reason', None) or e}; {before / 1e6:.1f} MB of "
                    f"{size / 1e6:.1f} MB are here: the same command goes on from there"
                ) from e
            time.sleep(wait * failures)


def _receive(address: str, part: Path, size: int, tell: Callable[[int], None]) -> None:
    """One request: what it brings is added to the part file."""
    have = _size(part)
    request = urllib.request.Request(address, headers={"User-Agent": "voxray"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        begin = _begin(answer) if answer.status == 206 else 0  # a server may ignore the range
        if begin not in (0, have):
            raise _Stopped(f"the server went on at byte {begin}, not at {have}")
        with open(part, "ab" if begin else "wb") as out:
            done = begin
            while block := answer.read(BLOCK):
                done += len(block)
                if done > size:
                    raise ValueError(f"{address} sends more than the {size} bytes that are wanted")
                out.write(block)
                tell(done)
    if done < size:
        raise _Stopped("the transfer broke off")


def _begin(answer: HTTPResponse) -> int:
    """Of a partial answer: `bytes 100-199/200`."""
    first = (answer.headers.get("Content-Range") or "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else -1


def _quoted(path: str) -> str:
    return urllib.parse.quote(path)


def _part(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
