"""Encoders that published models listen and read with, and that no voice file holds.

A folder holds them under their own names: `chinese-hubert-base` (speech at 16 kHz -> features at
50 Hz), `chinese-roberta-wwm-ext-large` (Mandarin text -> context features), `G2PWModel` (Mandarin
readings; pypinyin reads where it is absent) and
`pretrained_eres2netv2w24s4ep4.ckpt` (who speaks; v2Pro and v2ProPlus). Each is opened when it is first
wanted; `voxray pull encoders` fetches them. The folder is `VOXRAY_PRETRAINED`, else
`~/.cache/voxray/pretrained`.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from voxray.config import SpeakerVerificationConfig
from voxray.convert.reader import read
from voxray.convert.rename import adopt
from voxray.convert.rules_speaker import SPEAKER_VERIFICATION
from voxray.heap import let_go, trim
from voxray.models.context import TransformerContext
from voxray.models.packed import pack_linears
from voxray.models.speaker_verification import SpeakerVerifier

HUBERT = "chinese-hubert-base"
ROBERTA = "chinese-roberta-wwm-ext-large"
VERIFICATION = "pretrained_eres2netv2w24s4ep4.ckpt"
G2PW = "G2PWModel"
CONTEXT_LAYER = -3


def default_folder() -> Path:
    """Where the encoders are looked for."""
    given = os.environ.get("VOXRAY_PRETRAINED")
    return Path(given) if given else Path.home() / ".cache" / "voxray" / "pretrained"


class Pretrained:
    """The encoders of one folder; `packed` keeps the weights of HuBERT and RoBERTa as fp16, as they were
    published, and lets HuBERT go when RoBERTa is opened: another voice opens it again.
    """

    def __init__(self, folder: Path | None = None, *, packed: bool = False) -> None:
        self.folder = folder or default_folder()
        self.packed = packed

    def has(self, name: str) -> bool:
        """Whether an encoder is there."""
        return self._place(name).exists()

    def _place(self, name: str) -> Path:
        """In the folder, or where the original keeps it under that folder."""
        inner = self.folder / "sv" / name
        return inner if inner.exists() else self.folder / name

    def _path(self, name: str) -> Path:
        path = self._place(name)
        if not path.exists():
            raise FileNotFoundError(
                f"{name} is not in {self.folder}: `voxray pull encoders` fetches it; or copy it "
                "there, or name the folder that holds it in VOXRAY_PRETRAINED"
            )
        return path

    @cached_property
    def hubert(self) -> Any:
        """HuBERT in eval mode: `hubert(wave [B, N]).last_hidden_state` is [B, T, 768]."""
        path = self._path(HUBERT)
        try:
            from transformers import HubertModel
        except ImportError as missing:
            raise ValueError(
                "published models need the transformers library: pip install 'voxray[gptsovits]'"
            ) from missing
        model = HubertModel.from_pretrained(path, local_files_only=True)
        if self.packed:
            pack_linears(model, "half", let_go)
        model = model.float().eval()  # the published file is fp16; what it computes with is float32
        trim()
        return model

    @cached_property
    def roberta(self) -> TransformerContext:
        """Context features of Mandarin text."""
        place = str(self._path(ROBERTA))
        if self.packed:  # a voice has been heard by now; both at once are what takes most memory
            self.__dict__.pop("hubert", None)
        context = TransformerContext.load(place, CONTEXT_LAYER, packed=self.packed)
        trim()
        return context

    @cached_property
    def verification(self) -> SpeakerVerifier:
        """Who speaks: [B, 20480]."""
        network = SpeakerVerifier(SpeakerVerificationConfig())
        adopt(network, read(self._path(VERIFICATION)).tensors, SPEAKER_VERIFICATION)
        return network.eval()

    @torch.inference_mode()
    def features(self, wave: Tensor) -> Tensor:
        """Speech [N] at 16 kHz -> HuBERT features [1, T, 768]."""
        return self.hubert(wave[None]).last_hidden_state.float()
