"""Where the records lie: a folder with the keys and the policy, and a database (SQLite in it).

`use(folder, database)` chooses; otherwise the user's application folder. PostgreSQL is chosen by a
database URL. Nothing is made before something is recorded.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

FOLDER = "trust"
DATABASE = "records.sqlite"


@dataclass(frozen=True)
class Place:
    """A folder and, if the database is elsewhere, its URL."""

    folder: Path
    database: str = ""

    @property
    def url(self) -> str:
        """What SQLAlchemy opens."""
        return self.database or f"sqlite:///{self.folder / DATABASE}"

    def file(self, name: str) -> Path:
        """A file of the folder, which is made if need be (for the owner alone)."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self.folder / name


_chosen: Place | None = None


def use(folder: str | Path | None = None, database: str = "") -> None:
    """Keep the records in this folder (None: where the user's application data lies)."""
    global _chosen
    _chosen = Place(Path(folder), database) if folder is not None else None
    if folder is None and database:
        _chosen = Place(default_folder(), database)


def current() -> Place:
    """The place in use."""
    return _chosen or Place(default_folder())


def default_folder() -> Path:
    """`trust` in the folder that also holds the user's own voices."""
    import typer

    return Path(typer.get_app_dir("voxray")) / FOLDER


def write_secret(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all; never over another."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)
    except FileExistsError:
        return  # another process was first: its file counts
    finally:
        part.unlink(missing_ok=True)
