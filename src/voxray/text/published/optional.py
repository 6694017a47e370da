"""Packages of the `gptsovits` extra: loaded on first use, named when they are missing.

Two of them download files when they are imported (pyopenjtalk its dictionary, g2pk2 a corpus of
nltk). We need neither file, so `parts` loads only the modules inside that do the work.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


class MissingPackage(ImportError):
    """A language was asked for whose package is not installed."""


def missing(package: str, purpose: str) -> MissingPackage:
    """The error that says what to install."""
    return MissingPackage(
        f'{purpose} needs the package {package}: pip install "voxray[gptsovits]"', name=package
    )


def load(package: str, purpose: str) -> ModuleType:
    """Import an optional package."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise missing(error.name or package, purpose) from error


def parts(package: str, names: Sequence[str], purpose: str) -> list[ModuleType]:
    """Import modules inside a package without running the package's own `__init__`."""
    loaded = sys.modules.get(package)
    spec = None if loaded else find_spec(package)
    if loaded is None and (spec is None or spec.submodule_search_locations is None):
        raise missing(package, purpose)
    if loaded is None and spec is not None:
        shell = ModuleType(package)
        shell.__path__ = list(spec.submodule_search_locations or ())
        sys.modules[package] = shell
    try:
        return [load(f"{package}.{name}", purpose) for name in names]
    finally:
        if loaded is None:
            del sys.modules[package]
