"""Where a run's batches are made and where its arithmetic is done: `device` and `workers` of a `Schedule`.

`place` names the device; `Feed` gives micro-batch n there, made ahead by worker processes where there are
any. A batch depends on its number alone, so that any number of workers trains the same model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from voxray.models.packed_conv import multiplies_bf16

from .run import Schedule, team

Make = Callable[[int], list[Tensor]]


def place(schedule: Schedule) -> torch.device:
    """The device of a run; `auto` is the first GPU where there is one. ValueError where it is missing."""
    name = schedule.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f'device "{name}": no GPU is in reach here; train with "device": "cpu"')
    return torch.device(name)


def half(device: torch.device) -> torch.autocast:
    """Mixed precision (bfloat16) on a device; float32 on a processor where bfloat16 takes several times as long."""
    quick = device.type != "cpu" or multiplies_bf16()
    return torch.autocast(device.type, torch.bfloat16, enabled=quick)


class _Numbered(Dataset[list[Tensor]]):
    def __init__(self, make: Make) -> None:
        self.make = make

    def __getitem__(self, number: int) -> list[Tensor]:
        torch.set_num_threads(1)
        return self.make(number)


class Feed:
    """Calls give micro-batch `number` on the device; numbers are asked for in the order of training."""

    def __init__(self, make: Make, schedule: Schedule, device: torch.device) -> None:
        self.make, self.workers, self.device = make, schedule.workers, device
        self._next = -1
        self._ready: Iterator[list[Tensor]] = iter(())

    def __call__(self, number: int) -> list[Tensor]:
        if not self.workers:
            return self.moved(self.make(number))
        mates = team.get()
        stride = 1 if mates is None else mates.size
        if number != self._next:
            self._ready = iter(self._loader(range(number, 1 << 40, stride)))
        self._next = number + stride
        return self.moved(next(self._ready))

    def moved(self, batch: Sequence[Tensor]) -> list[Tensor]:
        """A batch on the device."""
        return [x.to(self.device, non_blocking=True) for x in batch]

    def _loader(self, numbers: range) -> DataLoader[list[Tensor]]:
        return DataLoader(
            _Numbered(self.make),
            batch_size=None,
            sampler=numbers,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            prefetch_factor=4,
            multiprocessing_context="fork",
            generator=torch.Generator(),  # else it would draw from the run's own dice
        )
