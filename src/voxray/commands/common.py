"""What the commands share: messages on stderr, the user's own voices, text files, small files."""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..voice import Voice

ERROR = 2
VOICE_NAME = re.compile(r"[\w][\w.-]{0,63}")
MODEL = "A model's folder, or mini-small; default: mini."
Precision = Annotated[
    str | None, typer.Option(help="With --model: float32, fast or int8.", show_default=False)
]


def complain(message: str, code: int = ERROR) -> int:
    """Say what is wrong, in one line; returns the exit code."""
    sys.stderr.write(f"voxray: {' '.join(message.split())}\n")
    return code


def note(message: str) -> None:
    """A warning, in one line."""
    sys.stderr.write(f"voxray: warning: {' '.join(message.split())}\n")


def voices_folder() -> Path:
    """Where the user's own voices are kept (VOXRAY_HOME moves it)."""
    home = os.environ.get("VOXRAY_HOME") or typer.get_app_dir("voxray")
    return Path(home) / "voices"


def keep_records_at_home() -> None:
    """VOXRAY_HOME moves the records, too."""
    from .. import trust

    if os.environ.get("VOXRAY_HOME"):
        trust.use(Path(os.environ["VOXRAY_HOME"]) / "trust", os.environ.get("VOXRAY_DATABASE", ""))


def own_voice(name: str) -> Path:
    """The file of one of the user's voices; refuses names that are no plain names."""
    if not VOICE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a voice: use letters, digits, - and _")
    return voices_folder() / f"{name}.safetensors"


def own_names() -> list[str]:
    """Names of the user's voices."""
    return sorted(path.stem for path in voices_folder().glob("*.safetensors"))


def find_voice(name: str, model: Path | None = None, transcript: str | None = None) -> Voice:
    """The user's voice of that name, else a built-in one, a voice file or a recording.

    A recording is heard by `model`; with its `transcript` its manner of speaking is taken too.
    """
    from ..engine import tts
    from ..voice import Voice, find

    if VOICE_NAME.fullmatch(name) and own_voice(name).is_file():
        return Voice.load(own_voice(name))
    models = None if model is None else tts.pipeline(model).models
    if transcript is not None:
        return Voice.from_file(name, transcript, model=models)
    return find(name, model=models)


def open_models(models: Sequence[Path], precision: str | None, lexicon: Path | None = None) -> None:
    """Open models with a precision, before anybody asks for them; None: each model's own choice."""
    if precision is None:
        return
    if not models:
        raise ValueError("--precision is for published models: give --model FOLDER as well")
    from ..engine import tts

    for model in models:
        tts.use(model, precision, lexicon)  # type: ignore[arg-type]


def read_text(path: Path) -> str:
    """A UTF-8 text file; `-` is standard input."""
    if str(path) == "-":
        return sys.stdin.read()
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give a text file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no such file: {path}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text") from error


def write_text(path: Path, text: str) -> None:
    """Write a small text file whole or not at all."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def refuse_overwriting(output: Path, *sources: str | Path | None) -> None:
    """The output must not be one of the files that are read."""
    for source in sources:
        both = source is not None and Path(source).exists() and output.exists()
        if both and output.samefile(str(source)):
            raise ValueError(f"{output} would be overwritten while it is read")
