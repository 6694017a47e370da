"""Linear maps for speaking only: weights packed as fp16 or int8, sums in float32.

A token costs one pass over all weights of the GPT, so its speed is that of the memory: half the bytes,
half the time. `pack_linears(model, kind)` replaces the large `nn.Linear`s of a model in place; all
sites stay where they are. In and out: float32 [..., D]. `half` rounds weights to fp16 (fine-tuned
files hold nothing more); `int8` keeps one scale a row (after LLM.int8, Dettmers et al. 2022) and rounds
the input as well. A packed model neither trains nor saves.
"""

from __future__ import annotations

import warnings
from typing import Literal

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
        pack = _packed_int8 if kind == "int8" else _packed_half
        self.packed = _with_engine(pack, linear)
        names = torch.ops.quantized
        self.multiply = names.linear_dynamic if kind == "int8" else names.linear_dynamic_fp16

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out], float32."""
        if x.requires_grad and torch.is_grad_enabled():
            raise ValueError("packed weights give no gradients: load with precision='float32'")
        return self.multiply(x, self.packed)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {self.kind}"


def pack_linears(model: nn.Module, kind: Kind) -> int:
    """Replace large linear maps and idle dropouts, in place; how many maps were packed.

    Where the processor has no kernels for it nothing changes, and the answer is 0.
    """
    if not can_pack():
        return 0
    count = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and child.weight.numel() >= SMALLEST:
                setattr(parent, name, PackedLinear(child, kind))
                count += 1
            elif type(child) is nn.Dropout:
                setattr(parent, name, nn.Identity())
    return count


def is_packed(model: nn.Module) -> bool:
    """Whether any map of the model is packed."""
    return any(isinstance(module, PackedLinear) for module in model.modules())


def shares_scales(model: nn.Module) -> bool:
    """Whether the rows of a batch reach each other: int8 rounds a whole input by its largest value."""
    kinds = (module.kind for module in model.modules() if isinstance(module, PackedLinear))
    return "int8" in kinds


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
    return torch.ops.quantized.linear_prepack_fp16(linear.weight.detach().float(), linear.bias)


def _packed_int8(linear: nn.Linear) -> object:
    weight = linear.weight.detach().float()
    scales = (weight.abs().amax(1) / 127).clamp_min(1e-12)  # one a row of the output
    zeros = torch.zeros(len(scales), dtype=torch.long)
    rounded = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
    return torch.ops.quantized.linear_prepack(rounded, linear.bias)
