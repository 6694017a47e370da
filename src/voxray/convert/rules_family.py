"""Rename rules of the published models v1, v2, v2Pro and v2ProPlus: both stages, discriminators.

Left: the names in the published files (by stage), right: ours. Order matters:
a rule works on what the rules above it have made.
"""

from __future__ import annotations

import re

from torch import Tensor

from .rename import WEIGHT_NORM, Reshape, Rule

GPT: list[Rule] = [
    (r"^model\.", ""),
    (r"^bert_proj", "context_projection"),
    (r"^ar_(text|audio)_embedding\.word_embeddings", r"\1_embedding"),
    (r"^ar_(text|audio)_position", r"\1_position"),
    (r"^ar_predict_layer", "head"),
    (r"^h\.layers", "blocks"),
    (r"self_attn\.in_proj_", "attn.qkv."),
    (r"self_attn\.out_proj", "attn.out"),
    (r"linear1", "feedforward.up"),
    (r"linear2", "feedforward.down"),
]

ENCODERS: list[Rule] = [
    (r"attn_layers\.(\d+)\.emb_rel_k", r"layers.\1.attn.relative.key"),
    (r"attn_layers\.(\d+)\.emb_rel_v", r"layers.\1.attn.relative.value"),
    (r"attn_layers\.(\d+)\.", r"layers.\1.attn."),
    (r"norm_layers_([12])\.(\d+)\.gamma", r"layers.\2.norm\1.weight"),
    (r"norm_layers_([12])\.(\d+)\.beta", r"layers.\2.norm\1.bias"),
    (r"ffn_layers\.(\d+)\.conv_1", r"layers.\1.up"),
    (r"ffn_layers\.(\d+)\.conv_2", r"layers.\1.down"),
    (r"conv_q\.", "query."),
    (r"conv_k\.", "key."),
    (r"conv_v\.", "value."),
    (r"conv_o\.", "out."),
]

PRIOR: list[Rule] = [
    (r"^enc_p\.ssl_proj", "prior.content_in"),
    (r"^enc_p\.encoder_ssl", "prior.content_encoder"),
    (r"^enc_p\.encoder_text", "prior.text_encoder"),
    (r"^enc_p\.encoder2", "prior.joint_encoder"),
    (r"^enc_p\.text_embedding", "prior.text_embedding"),
    (r"^enc_p\.mrte\.cross_attention", "prior.attn"),
    (r"^enc_p\.mrte\.c_pre", "prior.cross_content"),
    (r"^enc_p\.mrte\.text_pre", "prior.cross_text"),
    (r"^enc_p\.mrte\.c_post", "prior.cross_out"),
    (r"^enc_p\.proj\.", "prior.project."),
    (r"^ge_to512", "prior.speaker_in"),
    *ENCODERS,
]

SPEAKER: list[Rule] = [
    (r"^ref_enc\.spectral\.0\.fc", "speaker.spectral.0"),
    (r"^ref_enc\.spectral\.3\.fc", "speaker.spectral.3"),
    (r"^ref_enc\.temporal\.(\d)\.conv1\.conv", r"speaker.temporal.\1.conv"),
    (r"^ref_enc\.slf_attn\.w_qs", "speaker.attn.query"),
    (r"^ref_enc\.slf_attn\.w_ks", "speaker.attn.key"),
    (r"^ref_enc\.slf_attn\.w_vs", "speaker.attn.value"),
    (r"^ref_enc\.slf_attn\.fc", "speaker.attn.out"),
    (r"^ref_enc\.fc\.fc", "speaker.project"),
    (r"^sv_emb", "fusion.embed"),
    (r"^prelu", "fusion.activation"),
]

WAVENETS: list[Rule] = [
    (r"\.enc\.", ".net."),
    (r"\.in_layers\.", ".convs."),
    (r"\.res_skip_layers\.", ".mixes."),
    (r"\.cond_layer\.", ".condition."),
    (r"\.pre\.", ".before."),
    (r"\.post\.", ".after."),
    (r"\.proj\.", ".project."),
]


def _residual_block(match: re.Match[str]) -> str:
    stage, block = divmod(int(match[2]), 3)
    return f"{match[1]}upsampling.{stage}.blocks.{block}"


HIFIGAN: list[Rule] = [
    (r"conv_pre", "before"),
    (r"conv_post", "after"),
    (r"(^|\.)cond\.", r"\1condition."),
    (r"(^|\.)ups\.(\d+)", r"\1upsampling.\2.up"),
    (r"(^|\.)resblocks\.(\d+)", _residual_block),
    (r"convs1\.", "wide."),
    (r"convs2\.", "narrow."),
]

CODEBOOK = r"^quantizer\.vq\.layers\.0\._codebook\."

GENERATOR: list[Rule] = [
    (r"^ssl_proj", None),  # the quantiser's
    (CODEBOOK + "embed$", "codebook"),
    (r"^quantizer", None),
    *PRIOR,
    *SPEAKER,
    (r"^dec\.", "decoder."),
    *HIFIGAN,
    (r"^flow\.flows\.(\d+)", lambda match: f"flow.couplings.{int(match[1]) // 2}"),
    (r"^enc_q\.", "posterior."),
    *WAVENETS,
    *WEIGHT_NORM,
]

QUANTISER: list[Rule] = [
    (r"^(?!ssl_proj|quantizer)", None),
    (CODEBOOK + "inited", None),
    (CODEBOOK + "embed_avg", "total"),
    (CODEBOOK + "embed", "codebook"),
    (CODEBOOK + "cluster_size", "usage"),
    (r"^ssl_proj", "pair"),
]


def _pairs(weight: Tensor) -> Tensor:
    """A convolution over two frames [O, C, 2] -> a linear map of both together [O, 2 C]."""
    return weight.transpose(1, 2).flatten(1)


QUANTISER_RESHAPES: list[Reshape] = [(r"^pair\.weight$", _pairs)]

DISCRIMINATORS: list[Rule] = [(r"conv_post", "last"), *WEIGHT_NORM]
