"""A recording that was sent: on disk for as long as it is looked at, and no longer.

Its length is read from its header before it is decoded: what would unfold into more than the limit
is refused, and so is what libsndfile cannot read. The client's file name is not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import soundfile

from .errors import Problem

NAME = "recording"
MOST_CHANNELS = 8
SUFFIXES = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg"}


@contextmanager
def kept(data: bytes, most_seconds: float, name: str = NAME) -> Iterator[Path]:
    """A file that holds these bytes; what is said of it names no folder."""
    with TemporaryDirectory(prefix="voxray-") as folder:
        path = Path(folder) / (name + SUFFIXES.get(data[:4], ".mp3"))
        path.write_bytes(data)
        try:
            check(path, most_seconds)
            yield path
        except Problem:
            raise
        except ValueError as error:
            if folder not in str(error):
                raise
            told = str(error).replace(str(path), f"the {name}")
            code = getattr(error, "code", "audio-unreadable")
            problem = Problem("audio-unreadable", " ".join(told.split()))
            problem.code = code
            raise problem from error


def check(path: Path, most_seconds: float) -> None:
    """Refuse what is no sound, or too much of it."""
    try:
        facts = soundfile.info(path)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise Problem("audio-unreadable", "the file is no sound that can be read") from error
    if facts.channels > MOST_CHANNELS:
        raise Problem("audio-unreadable", f"{facts.channels} channels; {MOST_CHANNELS} are allowed")
    if not 0 < facts.samplerate <= 384_000 or facts.frames > most_seconds * facts.samplerate:
        raise Problem("body-too-large", f"at most {most_seconds:.0f} s of sound may be sent")
