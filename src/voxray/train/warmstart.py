"""Initial weights from freely licensed models, named in the model card; their files are not shipped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from voxray.config import ContentConfig
from voxray.tokens.content import ContentEncoder

_RENAMES = [
    (r"^encoder\.", ""),
    (r"\.attn_ln\.", ".attn_norm."),
    (r"\.mlp_ln\.", ".mlp_norm."),
    (r"\.mlp\.0\.", ".widen."),
    (r"\.mlp\.2\.", ".narrow."),
    (r"^ln_post\.", "norm."),
]


def content_from_whisper(path: Path, config: ContentConfig) -> ContentEncoder:
    """A content encoder that starts as the encoder of Whisper tiny (MIT), from its torch file."""
    raw: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    raw = raw.get("model_state_dict", raw)  # type: ignore[assignment]
    state: dict[str, Tensor] = {}
    for name, value in raw.items():
        if not name.startswith("encoder.") or name.endswith("positional_embedding"):
            continue
        for pattern, new in _RENAMES:
            name = re.sub(pattern, new, name)
        state[name] = value.float()
    for i in range(config.n_layer):  # Whisper's keys have no bias
        state[f"blocks.{i}.attn.key.bias"] = torch.zeros(config.width)
    encoder = ContentEncoder(config)
    encoder.load_state_dict(state)
    return encoder
