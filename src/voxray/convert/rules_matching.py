"""Rename rules of the published models v3 and v4: their own parts of s2, and both vocoders.

Left: the names in the published files, right: ours. The front half is that of v2 (`rules_family`).
Dropped: numbers that our modules compute (rotary frequencies, low-pass filters) and `linear_mel`, which
synthesis does not use.
"""

from __future__ import annotations

from .rename import WEIGHT_NORM, Rule
from .rules_family import GENERATOR, HIFIGAN

BRIDGE: list[Rule] = [
    (r"^linear_mel\.", None),
    (r"^bridge\.0\.", "bridge.widen."),
    (r"^wns1\.pre\.", "bridge.before."),
    (r"^wns1\.proj\.", "bridge.after."),
    (r"^wns1\.enc\.in_layers\.", "bridge.net.convs."),
    (r"^wns1\.enc\.res_skip_layers\.", "bridge.net.mixes."),
    (r"^wns1\.enc\.cond_layer\.", "bridge.net.condition."),
]

DIT: list[Rule] = [
    (r"^cfm\.estimator\.rotary_embed\.", None),
    (r"^cfm\.estimator\.", "cfm.dit."),
    (r"^cfm\.dit\.time_embed\.time_mlp\.", "cfm.dit.time."),
    (r"^cfm\.dit\.d_embed\.time_mlp\.", "cfm.dit.step."),
    (r"^cfm\.dit\.(time|step)\.0\.", r"cfm.dit.\1.widen."),
    (r"^cfm\.dit\.(time|step)\.2\.", r"cfm.dit.\1.mix."),
    (r"^cfm\.dit\.text_embed\.text_blocks\.", "cfm.dit.condition_blocks."),
    (r"(condition_blocks\.\d+)\.dwconv\.", r"\1.depthwise."),
    (r"(condition_blocks\.\d+)\.pwconv1\.", r"\1.widen."),
    (r"(condition_blocks\.\d+)\.pwconv2\.", r"\1.narrow."),
    (r"(condition_blocks\.\d+)\.grn\.gamma$", r"\1.response.gain"),
    (r"(condition_blocks\.\d+)\.grn\.beta$", r"\1.response.shift"),
    (r"^cfm\.dit\.input_embed\.proj\.", "cfm.dit.frame_in."),
    (r"^cfm\.dit\.input_embed\.conv_pos_embed\.conv1d\.0\.", "cfm.dit.positions.convs.0."),
    (r"^cfm\.dit\.input_embed\.conv_pos_embed\.conv1d\.2\.", "cfm.dit.positions.convs.1."),
    (r"^cfm\.dit\.transformer_blocks\.", "cfm.dit.blocks."),
    (r"^(cfm\.dit\.blocks\.\d+)\.attn_norm\.linear\.", r"\1.modulation."),
    (r"^(cfm\.dit\.blocks\.\d+)\.attn\.to_q\.", r"\1.attn.query."),
    (r"^(cfm\.dit\.blocks\.\d+)\.attn\.to_k\.", r"\1.attn.key."),
    (r"^(cfm\.dit\.blocks\.\d+)\.attn\.to_v\.", r"\1.attn.value."),
    (r"^(cfm\.dit\.blocks\.\d+)\.attn\.to_out\.0\.", r"\1.attn.out."),
    (r"^(cfm\.dit\.blocks\.\d+)\.ff\.ff\.0\.0\.", r"\1.up."),
    (r"^(cfm\.dit\.blocks\.\d+)\.ff\.ff\.2\.", r"\1.down."),
    (r"^cfm\.dit\.norm_out\.linear\.", "cfm.dit.final_modulation."),
    (r"^cfm\.dit\.proj_out\.", "cfm.dit.frame_out."),
]

FLOW_MATCHING: list[Rule] = [*BRIDGE, *DIT, *GENERATOR]  # a whole s2 file of v3 or v4

VOCODER: list[Rule] = [*HIFIGAN, *WEIGHT_NORM]

BIGVGAN: list[Rule] = [
    (r"\.filter$", None),
    (r"^activation_post\.", "last_activation."),
    (r"\.act\.alpha$", ".frequency"),
    (r"\.act\.beta$", ".damping"),
    (r"^ups\.(\d+)\.0\.", r"ups.\1."),
    *HIFIGAN,
    *WEIGHT_NORM,
]
