"""The zip around a torch checkpoint, opened strictly: a file in, bytes of named records out.

The family's savers overwrite the zip's first two bytes with a version tag; `PatchedHead` puts `PK`
back while reading, without a copy. Before a record is read the whole directory is checked: every
record stored as it is (torch never compresses), under one name, inside the one folder, and within
the file's real size. So no record can ask for more memory than the file has bytes. Every record's
CRC-32 is checked.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from .errors import AGAIN, UNTRUSTED, ForeignFileError, shown

MARK = b"PK"
CHUNK = 1 << 20
DIRECTORY_LIMIT = 2 << 20  # bytes of the zip's directory; a large training state has 0.3 MB
PICKLE_LIMIT = 8 << 20  # bytes of data.pkl; a large training state has 1 MB
LOCAL_HEADER = 30  # bytes of a record's header, before its name
ALLOWED_FLAGS = 0x0008 | 0x0800  # sizes after the data, names in UTF-8; not: encrypted, patched


class OutsideFileError(OSError):
    """The zip points outside of its file."""


DAMAGE = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, NotImplementedError,
    RuntimeError, ValueError, EOFError, OverflowError, LookupError, OutsideFileError,
)  # fmt: skip


class PatchedHead:
    """A binary file of `size` bytes whose first two bytes read as `PK`; what zipfile needs."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self._size, self._position = stream, size, 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        position = (0, self._position, self._size)[whence] + offset
        if position < 0:
            raise OutsideFileError("a place before the start of the file")
        self._position = position
        return position

    def read(self, count: int = -1) -> bytes:
        left = max(0, self._size - self._position)
        count = left if count < 0 else min(count, left)
        if count > DIRECTORY_LIMIT:
            raise OutsideFileError(f"a directory of {count} bytes")
        self._stream.seek(self._position)
        data, start = self._stream.read(count), self._position
        self._position += len(data)
        return MARK[start : start + len(data)] + data[max(0, len(MARK) - start) :]

    def close(self) -> None:
        """The file belongs to the caller, who closes it."""


class Archive:
    """The checked records of a checkpoint, by their names within its folder (`data/0`)."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        with _damage("its zip directory cannot be read"):
            self._zip = zipfile.ZipFile(PatchedHead(stream, size))  # type: ignore[arg-type]
        infos = self._zip.infolist()
        for info in infos:
            _check_record(info)
        _check_names([info.orig_filename for info in infos])
        _check_places(infos, size)
        root = _root(infos)
        self._records = {i.orig_filename[len(root) :]: i for i in infos}
        self._unread = set(self._records)
        if self._records["data.pkl"].file_size > PICKLE_LIMIT:
            raise ForeignFileError(f"its data.pkl is absurdly large; {UNTRUSTED}")
        self._check_byte_order()

    def size(self, name: str) -> int | None:
        """Bytes of a record; None where there is none of that name."""
        info = self._records.get(name)
        return None if info is None else info.file_size

    def read(self, name: str) -> bytearray:
        """A whole record, its CRC-32 checked."""
        data = bytearray(self._records[name].file_size)
        position = 0
        for piece in self._pieces(name):
            data[position : position + len(piece)] = piece
            position += len(piece)
        return data

    def check_rest(self) -> None:
        """Check the CRC-32 of every record that nobody has read; keeps nothing of them."""
        for name in sorted(self._unread):
            for _ in self._pieces(name):
                pass

    def odd_names(self) -> list[str]:
        """Names of records that torch does not write."""
        own = ("data.pkl", "version", "byteorder", ".format_version", ".storage_alignment")
        return [n for n in self._records if n not in own and not n.startswith(("data/", ".data/"))]

    def _pieces(self, name: str) -> Iterator[bytes]:
        info, left = self._records[name], self._records[name].file_size
        with _damage(f"its record {shown(name)} cannot be read"), self._zip.open(info) as record:
            while left:
                piece = record.read(min(CHUNK, left))
                if not piece:
                    raise EOFError("it ends too early")
                left -= len(piece)
                yield piece
        self._unread.discard(name)

    def _check_byte_order(self) -> None:
        if self.size("byteorder") is None:  # older torch: always the writer's, little in practice
            return
        if self.size("byteorder") != len(b"little") or self.read("byteorder") != b"little":
            raise ForeignFileError(
                "its numbers are not little-endian; save it again on an ordinary machine"
            )


@contextmanager
def _damage(what: str) -> Iterator[None]:
    try:
        yield
    except ForeignFileError:
        raise
    except DAMAGE as error:
        reason = shown(str(error) or type(error).__name__)
        raise ForeignFileError(f"damaged or incomplete: {what} ({reason}); {AGAIN}") from error


def _check_record(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise ForeignFileError(
            f"its record {shown(name)} is compressed, which torch never does; {UNTRUSTED}"
        )
    if info.flag_bits & ~ALLOWED_FLAGS:
        raise ForeignFileError(f"its record {shown(name)} is encrypted or patched; {UNTRUSTED}")
    outside = name.startswith("/") or ".." in name.split("/") or re.match("[A-Za-z]:", name)
    if outside or "\\" in name or "\0" in name:
        raise ForeignFileError(f"its record {shown(name)!r} points outside; {UNTRUSTED}")


def _check_names(names: list[str]) -> None:
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise ForeignFileError(f"it has two records named {shown(name)}; {UNTRUSTED}")


def _check_places(infos: list[zipfile.ZipInfo], size: int) -> None:
    """Records lie behind each other within the file: their sizes add up to no more than it has."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise ForeignFileError(f"damaged: two of its records overlap; {AGAIN}")
        end = info.header_offset + LOCAL_HEADER + len(info.orig_filename) + info.file_size
    if end > size:
        raise ForeignFileError(f"damaged: its records are larger than the file; {AGAIN}")


def _root(infos: list[zipfile.ZipInfo]) -> str:
    """The folder that holds data.pkl, with its slash; everything must lie in it."""
    names = [info.orig_filename for info in infos]
    roots = [n.removesuffix("data.pkl") for n in names if n.split("/")[1:] == ["data.pkl"]]
    if not roots:
        raise ForeignFileError("a zip file, but no torch checkpoint: it has no data.pkl")
    stray = [name for name in names if not name.startswith(roots[0])]
    if stray:
        raise ForeignFileError(
            f"its record {shown(stray[0])} lies outside of its folder; {UNTRUSTED}"
        )
    return roots[0]
