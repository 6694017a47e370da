"""From a model's folder back to runs that can be trained on: what `train bundle` joined is taken apart again.

In: a prepared store and a model with its `training.safetensors`. Out: the store's hidden states, tokens, labels of
people, what the GPT would have said, speakers (with resemblyzer's weights), and `content`, `gpt`, `generator` as runs at step 0,
from which `train gpt` and `train generator` go on.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from torch import nn

from voxray.bundle import Bundle
from voxray.config import GeneratorConfig
from voxray.models.generator import Generator
from voxray.models.student import Student
from voxray.packaged import DEFAULT, home
from voxray.tokens.content import ContentEncoder

from .autoencoder import AutoencoderTraining
from .content import PAUSE_IDS, SILENCE, ContentTraining
from .features import ON_GPU, TOGETHER, Ears, write_features
from .feed import place
from .gpt import GPTTraining
from .label import align_people, check_front_end, check_stamp
from .prior import PriorTraining
from .run import Run, Say, Schedule, silent
from .said import SAID, write_said
from .speakers import SpeakerTeacher
from .store import Store
from .training_file import training_parts


def run_restart(
    data: Path,
    out: Path,
    model: Path | None,
    speakers: Path | None = None,
    say: Say = silent,
    device: str = "cpu",
) -> None:
    """Fill the store on `device` and begin the runs; a store's tokens are always those of this model."""
    for folder in (
        out / part for part in ("content", "gpt", "generator/copy")
    ):  # before minutes of work
        if (folder / "state.pt").exists():
            raise FileExistsError(f"{folder} holds a run already; name another folder")
    folder = home(model or DEFAULT)
    bundle = Bundle.load(folder, precision="float32")
    if isinstance(bundle.gpt, Student):
        raise ValueError(f"the GPT stage of {bundle.name!r} is a student: restart from its teacher")
    check_stamp(data)
    check_front_end(f"the weights in {folder}", bundle.fingerprint, bundle.text_pipeline())
    posterior, readout = training_parts(folder, bundle)
    config = bundle.config.generator
    if posterior is None or readout is None or not isinstance(config, GeneratorConfig):
        raise ValueError(
            f"{folder} holds no training.safetensors: posterior and readout are needed to train on; "
            "`voxray train bundle` writes it"
        )
    where = place(Schedule(device=device))
    ears = Ears(
        cast(ContentEncoder, bundle.content), bundle.quantiser, readout, bundle.generator.hearing,
        None if speakers is None else SpeakerTeacher.load(speakers),
    )  # fmt: skip
    heard = [ears.content, ears.quantiser, readout, bundle.gpt, ears.hearing, ears.teacher]
    for part in heard:
        if part is not None:
            part.to(where)
    say("tokens of every clip, and where people say which phoneme")
    scores = write_features(data, ears, ON_GPU if where.type != "cpu" else TOGETHER)
    for reason, count in sorted(align_people(data, scores, SILENCE, PAUSE_IDS, keep=True).items()):
        say(f"people's clips: {reason}: {count}")
    if not Store(data).whole(SAID, "int16", 960):
        same = write_said(data, bundle.gpt, bundle.config.temperature)
        say(f"the GPT says {same:.2f} of the tokens as recorded")
    for part in heard:
        if part is not None:
            part.to("cpu")
    generator = Generator(config)
    generator.posterior = posterior
    known = {f"posterior.{name}": value for name, value in posterior.state_dict().items()}
    generator.load_state_dict({**bundle.generator.state_dict(), **known})
    parts = {"content": bundle.content, "quantiser": bundle.quantiser, "readout": readout}
    _begin(out / "content", parts, ContentTraining(model=bundle.config.content))
    _begin(out / "gpt", {"gpt": bundle.gpt}, GPTTraining(model=bundle.gpt.config))
    for name, kind in (("copy", AutoencoderTraining), ("prior", PriorTraining)):
        settings = kind(model=config, steps=0)
        _begin(out / "generator" / name, {"generator": generator}, settings)


def _begin(folder: Path, modules: dict[str, nn.Module], settings: Schedule) -> None:
    """A run at step 0 whose weights are known."""
    run = Run(folder, modules)
    run.save()
    run.describe(settings)
