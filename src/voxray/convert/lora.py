"""Low-rank deltas (Hu et al. 2021) merged into the weights they were trained for.

In: the tensors of a base s2 file and those of a LoRA file, both under their published names. Out: the
tensors of a whole model, W + (alpha / r) B A where the delta has maps A [r, in] and B [out, r], and
the delta's own tensor where it was trained in full. Every tensor of the delta must find its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from .errors import ForeignFileError, shown

WRAPPED = re.compile(r"\.base_model\.model\.")  # what the training put around the base's modules
FACTOR = re.compile(r"(.+)\.lora_([AB])\.\w+\.weight")


def merge_lora(
    base: Mapping[str, Tensor], delta: Mapping[str, Tensor], alpha: float | None = None
) -> dict[str, Tensor]:
    """The base with the delta in it, in the base's number types; the base itself stays as it is.

    `alpha` is the published trainer's: the rank, unless given. ForeignFileError where a tensor of
    the delta has no place in the base, another shape than there, or no partner.
    """
    merged = dict(base)
    factors: dict[str, dict[str, Tensor]] = {}
    for name, tensor in delta.items():
        plain = WRAPPED.sub(".", name)
        factor = FACTOR.fullmatch(plain)
        if factor is not None:
            factors.setdefault(f"{factor[1]}.weight", {})[factor[2]] = tensor
            continue
        place = _place(base, plain, name)
        if tensor.shape != place.shape:
            raise _misfit(name, tensor, place)
        merged[plain] = tensor.to(place.dtype)
    for name, pair in factors.items():
        merged[name] = _sum(name, _place(base, name, name), pair, alpha)
    return merged


def _place(base: Mapping[str, Tensor], plain: str, name: str) -> Tensor:
    if plain not in base:
        raise ForeignFileError(
            f"the LoRA changes {shown(name)}, which the base does not have; "
            "give the base that it was trained on"
        )
    return base[plain]


def _sum(name: str, weight: Tensor, pair: Mapping[str, Tensor], alpha: float | None) -> Tensor:
    if pair.keys() != {"A", "B"}:
        raise ForeignFileError(f"the LoRA has only one of the two maps for {shown(name)}")
    inner, outer = pair["A"], pair["B"]  # [r, in], [out, r]
    if inner.dim() != 2 or outer.dim() != 2 or inner.shape[0] != outer.shape[1]:
        raise ForeignFileError(
            f"the LoRA's two maps for {shown(name)} do not fit each other: "
            f"A is {tuple(inner.shape)}, B is {tuple(outer.shape)}"
        )
    rank = inner.shape[0]
    if rank == 0 or weight.shape != (outer.shape[0], inner.shape[1]):
        raise ForeignFileError(
            f"the LoRA's change of {shown(name)} is {outer.shape[0]}x{inner.shape[1]} of rank "
            f"{rank}, but the weight is {tuple(weight.shape)}"
        )
    change = outer.float() @ inner.float()
    scale = 1.0 if alpha is None else alpha / rank
    return (weight.float() + scale * change).to(weight.dtype)


def _misfit(name: str, tensor: Tensor, place: Tensor) -> ForeignFileError:
    return ForeignFileError(
        f"the LoRA's {shown(name)} is {tuple(tensor.shape)}, the base's {tuple(place.shape)}"
    )
