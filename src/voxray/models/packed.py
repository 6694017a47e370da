"""Linear maps for speaking only: weights packed as fp16 or int8, sums in float32.

A token costs one pass over all weights of the GPT, so its speed is that of the memory: half the bytes,
half the time. `pack_linears(model, kind)` replaces the large `nn.Linear`s of a model in place; all
sites stay where they are. In and out: float32 [..., D]. `half` rounds weights to fp16 (fine-tuned
files hold nothing more); `int8` keeps one scale a row (after LLM.int8, Dettmers et al. 2022) and rounds
the input as well. A packed model neither trains nor saves.

`quicken(model)` rounds nothing: maps whose weights fp16 holds exactly (all of a bundle saved as fp16)
keep them in float32, to train, save and explain, and single positions are multiplied from a packed copy.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

Kind = Literal["half", "int8"]
SMALLEST = 1 << 14  # weights; smaller maps are not worth it
ENGINE = "fbgemm"


def can_pack() -> bool:
    """Whether this processor has the packed kernels (x86 with AVX2 does)."""
    return ENGINE in torch.backends.quantized.supported_engines


class PackedLinear(nn.Module):
    """A linear map without parameters: the packed weights are no tensors."""

    def __init__(self, linear: nn.Linear, kind: Kind) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.kind = kind
        self.packed, self.multiply = _packed(linear, kind)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out], float32."""
        if x.requires_grad and torch.is_grad_enabled():
            raise ValueError("packed weights give no gradients: load with precision='float32'")
        return self.multiply(x, self.packed)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {self.kind}"


class QuickLinear(nn.Linear):
    """`nn.Linear` with a packed copy of its weights beside them, for speaking.

    The copy is read in inference mode, for inputs [B, 1, D] (one position a row): the same products,
    summed in another order. All else, gradients too, goes through the float32 weights. The copy is
    passed over once they have changed in place or were exchanged; training, another device or type
    and deep copies drop it. Writing through `weight.data` is not noticed.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias  # the same parameters, not copies
        self.training = linear.training
        self.packed, self.multiply = _packed(linear, "half")
        self._copied = [p for p in (linear.weight, linear.bias) if p is not None]
        self._versions = [p._version for p in self._copied]

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        single = input.dim() == 3 and input.shape[1] == 1 and input.dtype == torch.float32
        if single and torch.is_inference_mode_enabled() and self.current:
            return self.multiply(input, self.packed)
        return super().forward(input)

    @property
    def current(self) -> bool:
        """Whether there is a packed copy, of the weights as they are now."""
        if self.packed is None:
            return False
        own = self._parameters  # an adapter takes the weight out of them
        now = [p for p in (own.get("weight"), own.get("bias")) if p is not None]
        return len(now) == len(self._copied) and all(
            p is q and p._version == version
            for p, q, version in zip(now, self._copied, self._versions, strict=True)
        )

    def forget(self) -> None:
        """Be a plain map from here on."""
        self.packed, self._copied = None, []

    def train(self, mode: bool = True) -> QuickLinear:
        """Training writes weights in ways that leave no trace."""
        if mode:
            self.forget()
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> QuickLinear:
        self.forget()
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "packed": None, "_copied": []}


def quicken(model: nn.Module) -> int:
    """Give large linear maps that fp16 holds exactly a packed copy; how many there are."""
    if not can_pack():
        return 0
    count = 0
    for parent in parents(model):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and _is_large(child) and _fits_half(child.weight):
                setattr(parent, name, QuickLinear(child))
                count += 1
    return count


def pack_linears(
    model: nn.Module, kind: Kind, dropped: Callable[[Tensor], object] | None = None
) -> int:
    """Replace large linear maps and idle dropouts, in place; how many maps were packed. `dropped` is told
    of each weight that is no longer needed.

    Where the processor has no kernels for it nothing changes, and the answer is 0.
    """
    if not can_pack():
        return 0
    count = 0
    for parent in parents(model):
        for name, child in list(parent.named_children()):
            if (
                isinstance(child, nn.Linear)
                and type(child) in (nn.Linear, QuickLinear)
                and _is_large(child)
            ):
                setattr(parent, name, PackedLinear(child, kind))
                count += 1
                if dropped is not None:
                    dropped(child.weight)
            elif type(child) is nn.Dropout:
                setattr(parent, name, nn.Identity())
    return count


def parents(model: nn.Module) -> list[nn.Module]:
    """Modules that hold others: a list of all would keep the maps alive that are being replaced."""
    return [module for module in model.modules() if next(module.children(), None) is not None]


def is_packed(model: nn.Module) -> bool:
    """Whether any map of the model is packed."""
    return any(isinstance(module, PackedLinear) for module in model.modules())


def shares_scales(model: nn.Module) -> bool:
    """Whether the rows of a batch reach each other: int8 rounds a whole input by its largest value."""
    kinds = (module.kind for module in model.modules() if isinstance(module, PackedLinear))
    return "int8" in kinds


def _is_large(linear: nn.Linear) -> bool:
    return linear.weight.numel() >= SMALLEST


def _fits_half(weight: Tensor) -> bool:
    """Whether fp16 holds every weight exactly; weights elsewhere than on the CPU are left alone."""
    known = weight.device.type == "cpu" and weight.dtype == torch.float32
    return known and not weight.is_inference() and torch.equal(weight.half().float(), weight)


def _packed(linear: nn.Linear, kind: Kind) -> tuple[Any, Any]:
    """Packed weights, and what multiplies by them: called as multiply(x, packed)."""
    names = torch.ops.quantized
    if kind == "int8":
        return _with_engine(_packed_int8, linear), names.linear_dynamic.default
    return _with_engine(_packed_half, linear), names.linear_dynamic_fp16.default


def _with_engine(pack: object, linear: nn.Linear) -> object:
    """The packing reads a global switch; it is put back."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = ENGINE
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the kernels stay, their Python front is deprecated
            return pack(linear)  # type: ignore[operator]
    finally:
        torch.backends.quantized.engine = before


def _packed_half(linear: nn.Linear) -> object:
    return torch.ops.quantized.linear_prepack_fp16(linear.weight.detach().float(), _bias(linear))


def _packed_int8(linear: nn.Linear) -> object:
    weight = linear.weight.detach().float()
    scales = (weight.abs().amax(1) / 127).clamp_min(1e-12)  # one a row of the output
    zeros = torch.zeros(len(scales), dtype=torch.long)
    rounded = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
    return torch.ops.quantized.linear_prepack(rounded, _bias(linear))


def _bias(linear: nn.Linear) -> Tensor | None:
    """A copy: what is packed must not keep alive what a whole file's memory hangs on."""
    return None if linear.bias is None else linear.bias.detach().float().clone()
