"""The models in the package: their folders by name, and what one gives to another that names it as its base.

A folder may hold a part of a model (`mini-small`: another GPT stage) and name its base in the package, which gives
the rest, as long as text and tokens mean there what they meant when that part was learnt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from voxray import checkpoint
from voxray.config import BundleConfig

BUILTIN = Path(__file__).parent / "builtin"
DEFAULT = "mini"  # the model in the package that speaks where none is named
BASE_FIELDS = ("base", "base_weights", "base_codes")  # of the config


def builtin_models() -> list[str]:
    """Names of the models in the package, the default one first."""
    return sorted(path.parent.name for path in BUILTIN.glob(f"*/{checkpoint.CONFIG_FILE}"))


def home(model: str | Path) -> Path:
    """The folder of a model: one that is there, else that of a model in the package by its name."""
    named = str(model)
    if named in builtin_models() and not (Path(model) / checkpoint.CONFIG_FILE).is_file():
        return BUILTIN / named
    return Path(model)


def codes_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of a model's code vectors: what its tokens mean."""
    codes = checkpoint.part(state, "quantiser")["codebook"]
    return hashlib.sha256(codes.float().contiguous().numpy().tobytes()).hexdigest()


def base_of(config: BundleConfig) -> Path:
    """The folder of a model's base; it lies in the package."""
    if config.base not in builtin_models():
        raise FileNotFoundError(
            f"the model {config.name!r} takes its other parts from {config.base!r}, which is not among the "
            f"models in the package ({', '.join(builtin_models()) or 'there are none'})"
        )
    return BUILTIN / config.base


def parts_of(base: Path, given: Mapping[str, Tensor], config: BundleConfig) -> dict[str, Tensor]:
    """The parts that a base gives beside those given; ValueError if what was learnt beside it no longer fits.

    Other weights than those it was learnt with will do while text and tokens mean the same.
    """
    raw, state = checkpoint.load(base, widened=False)
    theirs = BundleConfig(**raw)
    if theirs.base:
        raise ValueError(f"{base.name!r}, the base of {config.name!r}, needs a base itself")
    if checkpoint.weights_hash(base) != config.base_weights:
        differ = [
            what
            for what, same in (
                ("text front end", theirs.fingerprint == config.fingerprint),
                ("code vectors", codes_hash(state) == config.base_codes),
            )
            if not same
        ]
        if differ:
            raise ValueError(
                f"the model {config.name!r} was learnt beside another {base.name!r} than the one here: the "
                f"{' and the '.join(differ)} differ; install again"
            )
    own = {name.partition(".")[0] for name in given}
    return {name: tensor for name, tensor in state.items() if name.partition(".")[0] not in own}
