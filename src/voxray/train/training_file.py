"""The optional file beside a bundle's weights, `training.safetensors`: what only training and probing need.

Posterior encoder, readout of the content encoder, and the discriminators that the generator was trained against (fp16). A
published model's posterior lies among its own weights.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from voxray.bundle import Bundle
from voxray.config import MelPosteriorConfig, SpectralDiscriminatorConfig
from voxray.models.discriminators import SpectralDiscriminators
from voxray.models.posterior import Posterior
from voxray.models.posterior_mel import MelPosterior
from voxray.packaged import home
from voxray.tokens.content import Readout

from .finished import state_of
from .tuning_published import published_posterior

TRAINING_FILE = "training.safetensors"
JUDGE = "judge."  # how the names of the discriminators' tensors begin


def training_parts(
    folder: Path, bundle: Bundle
) -> tuple[MelPosterior | Posterior | None, Readout | None]:
    """Posterior and readout from the optional file beside a bundle; None where it is not there. A published model's
    posterior lies among its own weights, if its file held one.
    """
    if bundle.config.version:
        return published_posterior(folder, bundle), None
    path = folder / TRAINING_FILE
    if bundle.config.base and not path.is_file():
        path = home(bundle.config.base) / TRAINING_FILE
    config = bundle.config.generator
    if not path.is_file() or not isinstance(getattr(config, "posterior", None), MelPosteriorConfig):
        return None, None
    state = {name: value.float() for name, value in load_file(path).items()}
    posterior = MelPosterior(config.posterior)  # type: ignore[union-attr, arg-type]
    readout = Readout(bundle.config.content)
    for name, module in (("posterior", posterior), ("readout", readout)):
        start = f"{name}."
        own = {k[len(start) :]: v for k, v in state.items() if k.startswith(start)}
        if not own:
            raise ValueError(f"{path} holds no {name}")
        module.load_state_dict(own)
    return posterior.eval(), readout.eval()


def judge_state(folder: Path) -> dict[str, Tensor]:
    """The discriminators' tensors of a run, or of a model with a training file; ValueError where there are none."""
    if (folder / "state.pt").is_file():
        state = state_of(folder).get("judge", {})
    else:
        path = folder / TRAINING_FILE
        state = _judge(path) if path.is_file() else {}
    if not state:
        raise ValueError(f"{folder} holds no discriminators: name a run of part 4 or 5, or a model")
    return state


def _judge(path: Path) -> dict[str, Tensor]:
    """The discriminators' tensors of a training file, if it holds any."""
    named = load_file(path).items()
    return {k.removeprefix(JUDGE): v.float() for k, v in named if k.startswith(JUDGE)}


def training_judge(folder: Path, bundle: Bundle) -> SpectralDiscriminators | None:
    """The discriminators on spectrograms that a bundle's generator was trained against; None where they are not kept."""
    path = folder / TRAINING_FILE
    if bundle.config.base and not path.is_file():
        path = home(bundle.config.base) / TRAINING_FILE
    if bundle.config.version or not path.is_file():
        return None
    state = _judge(path)
    if not state:
        return None
    channels = len(state["discriminators.0.convs.0.bias"])
    judge = SpectralDiscriminators(SpectralDiscriminatorConfig(channels=channels))
    judge.load_state_dict({name: state[name] for name in judge.state_dict()})
    return judge
