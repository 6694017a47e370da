"""A studio on the tiny model, with a home and records of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from voxray.bundle import Bundle
from voxray.studio.actions import Asked, Studio, finished, speak
from voxray.studio.settings import Settings
from voxray.studio.takes import Take
from voxray.trust import store

if TYPE_CHECKING:
    from voxray.studio.handlers import Handlers


@pytest.fixture(scope="session")
def tiny_folder(tiny: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model on disk."""
    folder = tmp_path_factory.mktemp("tiny-model")
    tiny.save(folder)
    return folder


@pytest.fixture
def settings(tiny_folder: Path, tmp_path: Path) -> Settings:
    """A studio's settings: its own home, few draws."""
    return Settings(home=tmp_path / "home", model=tiny_folder, draws=3, most_takes=4)


@pytest.fixture
def studio(settings: Settings, tmp_path: Path) -> Iterator[Studio]:
    """A studio; it ends with the test."""
    from voxray import trust

    trust.use(tmp_path / "trust")
    made = Studio(settings)
    yield made
    made.shelf.close()
    store.forget()


@pytest.fixture
def take(studio: Studio) -> Take:
    """Something said."""
    return finished(speak(studio, Asked("Hello there.", "nova", seed=1)))


@pytest.fixture
def calls(studio: Studio) -> Handlers:
    """What the English page's events call."""
    from voxray.studio.handlers import Handlers
    from voxray.studio.strings import Words
    from voxray.studio.tuning import Tuner

    return Handlers(studio, Tuner(studio.settings), Words("en"))
