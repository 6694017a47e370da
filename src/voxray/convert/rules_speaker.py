"""Rename rules of the published speaker networks: ERes2NetV2, which v2Pro and v2ProPlus listen with,
and the blocks that it shares with its elder sister ERes2Net, a judge.
"""

from __future__ import annotations

from .rename import Rule

BLOCKS: list[Rule] = [
    (r"\.conv1\.", ".enter."),
    (r"\.bn1\.", ".enter_norm."),
    (r"\.convs\.", ".groups."),
    (r"\.bns\.", ".group_norms."),
    (r"\.fuse_models\.", ".fusions."),
    (r"\.conv3\.", ".leave."),
    (r"\.bn3\.", ".leave_norm."),
    (r"\.local_att\.", ".balance."),
]

SPEAKER_VERIFICATION: list[Rule] = [
    (r"^seg_1\.", None),  # the 192 numbers that verification ends in; synthesis stops before
    (r"^conv1\.", "stem."),
    (r"^bn1\.", "stem_norm."),
    (r"^layer([1-4])\.", lambda found: f"stages.{int(found[1]) - 1}."),
    (r"^layer3_ds\.", "shrink."),
    (r"^fuse34\.", "fusion."),
    *BLOCKS,
]
