"""The published tensor names and shapes of a v3 or v4 s2 file, written out from a configuration.

What `names.generator` is to v1, v2 and Pro: what an export of a flow-matching model must hold, the parts
that our modules compute or leave out (`KEPT`) included. Yields (name, shape).
"""

from __future__ import annotations

from voxray.config import BridgeConfig, DiTConfig, MatchingGeneratorConfig

from .names import Named, _map, _prior, _speaker, _wavenet

KEPT = ("linear_mel.", "cfm.estimator.rotary_embed.")  # in the file, not in our modules


def matching(config: MatchingGeneratorConfig) -> Named:
    """All of an s2 file."""
    content = config.prior.input_channels
    yield from _map("ssl_proj", content, content, 2)
    book = "quantizer.vq.layers.0._codebook."
    yield book + "inited", (1,)
    yield book + "cluster_size", (config.codebook_size,)
    yield book + "embed", (config.codebook_size, content)
    yield book + "embed_avg", (config.codebook_size, content)
    yield from _prior(config.prior)
    yield from _speaker(config.speaker)
    yield from _bridge(config.bridge)
    transformer = config.matching.transformer
    yield from _map("linear_mel", transformer.n_mels, config.bridge.width, 1)
    yield from _transformer(transformer)


def _bridge(config: BridgeConfig) -> Named:
    width = config.width
    yield from _map("bridge.0", width, config.input_channels, 1)
    yield from _map("wns1.pre", width, width, 1)
    yield from _map("wns1.proj", width, width, 1)
    yield from _wavenet("wns1.enc", width, config.kernel, config.layers, config.speaker_width)


def _transformer(config: DiTConfig) -> Named:
    start, width, inner = "cfm.estimator", config.width, config.condition_width
    for part in ("time_embed", "d_embed"):
        yield from _map(f"{start}.{part}.time_mlp.0", width, config.time_width)
        yield from _map(f"{start}.{part}.time_mlp.2", width, width)
    hidden = config.condition_mult * inner
    for i in range(config.condition_layers):
        block = f"{start}.text_embed.text_blocks.{i}"
        yield from _map(f"{block}.dwconv", inner, 1, config.condition_kernel)
        yield from _map(f"{block}.norm", inner)
        yield from _map(f"{block}.pwconv1", hidden, inner)
        yield f"{block}.grn.gamma", (1, 1, hidden)
        yield f"{block}.grn.beta", (1, 1, hidden)
        yield from _map(f"{block}.pwconv2", inner, hidden)
    yield from _map(f"{start}.input_embed.proj", width, 2 * config.n_mels + inner)
    for i in (0, 2):
        name = f"{start}.input_embed.conv_pos_embed.conv1d.{i}"
        yield from _map(name, width, width // config.position_groups, config.position_kernel)
    yield f"{start}.rotary_embed.inv_freq", (config.rotary_width // 2,)
    for i in range(config.n_layer):
        yield from _block(f"{start}.transformer_blocks.{i}", width, config.ffn_mult * width)
    yield from _map(f"{start}.norm_out.linear", 2 * width, width)
    yield from _map(f"{start}.proj_out", config.n_mels, width)


def _block(name: str, width: int, hidden: int) -> Named:
    yield from _map(f"{name}.attn_norm.linear", 6 * width, width)
    for part in ("to_q", "to_k", "to_v", "to_out.0"):
        yield from _map(f"{name}.attn.{part}", width, width)
    yield from _map(f"{name}.ff.ff.0.0", hidden, width)
    yield from _map(f"{name}.ff.ff.2", width, hidden)
