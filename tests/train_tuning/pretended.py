"""Run by test_on_a_device.py in a process of its own: steps of training on an accelerator that is only pretended.

Its tensors know where they lie and hold nothing, so that whatever is made on the processor and meets them is found out,
and so is whoever asks for a value or brings one along, which a recorded step must not do.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend as pretend

pretend("npy")
torch.autocast = lambda *_, **__: contextlib.nullcontext()  # type: ignore[assignment,misc]
sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import TINY  # noqa: E402
from voxray.config import MelPosteriorConfig, SpectralDiscriminatorConfig  # noqa: E402
from voxray.models.discriminators import SpectralDiscriminators  # noqa: E402
from voxray.models.generator import Generator  # noqa: E402
from voxray.tokens.content import ContentEncoder  # noqa: E402
from voxray.tokens.quantiser import Quantiser  # noqa: E402
from voxray.train import expected, polish  # noqa: E402
from voxray.train.listening import Listener, likeness_loss, words_loss  # noqa: E402
from voxray.train.prior import withheld  # noqa: E402
from voxray.train.speakers import SpeakerTeacher  # noqa: E402


class Staying(TorchDispatchMode):
    """Refuses whatever comes from the processor."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor) and value.device.type != DEVICE:
                raise AssertionError(f"{function} gets {tuple(value.shape)} from {value.device}")
        return function(*args, **(kwargs or {}))


ROWS, TOKENS, PHONES, MEMORY, DEVICE = 2, 40, 8, 60, "npy"
PRIOR = TINY.generator.prior.model_copy(update={"memory_width": 128})
GENERATOR = TINY.generator.model_copy(
    update={"prior": PRIOR, "retrieval": 16, "posterior": MelPosteriorConfig(width=16, layers=1)}
)


def moved(module: nn.Module) -> nn.Module:
    """All tensors of a module on the device."""
    for part in module.modules():
        for store in (part._parameters, part._buffers):
            for name, value in store.items():
                if value is None:
                    continue
                there = torch.empty(value.shape, dtype=value.dtype, device=DEVICE)
                learns = isinstance(value, nn.Parameter)
                store[name] = nn.Parameter(there, value.requires_grad) if learns else there
        if isinstance(part, nn.RNNBase):
            part._init_flat_weights()
    return module


def batch() -> list[Tensor]:
    """As `Aligned.aligned` gives it."""

    def zeros(*shape: int, whole: bool = False) -> Tensor:
        return torch.zeros(shape, dtype=torch.long if whole else torch.float32, device=DEVICE)

    latents = PRIOR.latent_channels
    return [
        zeros(ROWS, 960 * TOKENS), zeros(ROWS, TOKENS, whole=True), zeros(ROWS, PHONES, whole=True),
        zeros(ROWS, whole=True), zeros(ROWS, 64_000), zeros(ROWS, 4 * TOKENS), zeros(ROWS),
        zeros(ROWS, 2 * TOKENS, whole=True), zeros(ROWS, 256), zeros(ROWS, TOKENS, whole=True),
        zeros(ROWS, MEMORY, whole=True), zeros(ROWS, latents, 2 * MEMORY), zeros(ROWS, whole=True),
    ]  # fmt: skip


def step(
    model: Generator, judge: SpectralDiscriminators, ears: tuple[SpeakerTeacher, Listener],
    given: list[Tensor], correction: Tensor | None,
) -> None:  # fmt: skip
    """One step, backwards as well."""
    shares = expected.Shares(0.0 if correction is None else 1.0, 0.15)
    losses, made = polish.polish_losses(
        model, judge, withheld(given, 0.1, None), None, True, True, 0.4, shares, True, correction
    )
    losses["likeness"] = likeness_loss(ears[0], made, given[8])
    losses["words"] = words_loss(ears[1], made, given[0])
    torch.stack(list(losses.values())).sum().backward()
    grads = [p.grad for p in model.decoder.parameters() if p.grad is not None]
    assert grads and all(grad.device.type == DEVICE for grad in grads)


def main() -> None:
    """Both kinds of steps."""
    model, teacher = Generator(GENERATOR), SpeakerTeacher().requires_grad_(False)
    judge = SpectralDiscriminators(SpectralDiscriminatorConfig(channels=4, layers=2))
    listener = Listener(ContentEncoder(TINY.content), Quantiser(TINY.content))
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in (model, judge, teacher, listener):
            moved(module)
        for part in (model.prior, model.flow, model.speaker):
            part.eval()
        for corrected in (False, True):
            given = batch()
            correction = expected.correction_of(model, given) if corrected else None
            step(model, judge, (teacher, listener), given, correction)  # constants are kept
            with Staying():
                step(model, judge, (teacher, listener), given, correction)
    sys.stdout.write("all on the device\n")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    # The pretended device's backward thread is never joined: now and then it would abort the end.
    os._exit(0)
