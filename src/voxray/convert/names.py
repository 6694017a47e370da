"""The published tensor names and shapes that a configuration stands for: what an export must hold.

Written out from the configurations, so that a tuned voice can go back to where it came from. Each
function yields (name, shape): `gpt` for s1, `generator` for the s2 of v1, v2 and Pro, `matching` for that
of v3 and v4.
"""

from __future__ import annotations

from collections.abc import Iterator

from voxray.config import (
    BridgeConfig,
    DiTConfig,
    FlowConfig,
    GeneratorConfig,
    GPTConfig,
    HifiganConfig,
    MatchingGeneratorConfig,
    PosteriorConfig,
    PriorConfig,
    SpeakerConfig,
)

Named = Iterator[tuple[str, tuple[int, ...]]]
ANGLES = "cfm.estimator.rotary_embed.inv_freq"
KEPT = ("linear_mel.", "cfm.estimator.rotary_embed.")  # in a v3 or v4 file, not in our modules


def gpt(config: GPTConfig) -> Named:
    """All of an s1 file."""
    width, hidden = config.width, config.ffn_mult * config.width
    yield from _map("model.bert_proj", width, config.context_width)
    for part, rows in (("text", config.text_symbols), ("audio", config.codebook_size + 1)):
        yield f"model.ar_{part}_embedding.word_embeddings.weight", (rows, width)
        yield f"model.ar_{part}_position.alpha", (1,)
    for i in range(config.n_layer):
        layer = f"model.h.layers.{i}"
        yield f"{layer}.self_attn.in_proj_weight", (3 * width, width)
        yield f"{layer}.self_attn.in_proj_bias", (3 * width,)
        yield from _map(f"{layer}.self_attn.out_proj", width, width)
        yield from _map(f"{layer}.linear1", hidden, width)
        yield from _map(f"{layer}.linear2", width, hidden)
        for norm in ("norm1", "norm2"):
            yield from _map(f"{layer}.{norm}", width)
    yield "model.ar_predict_layer.weight", (config.codebook_size + 1, width)


def generator(config: GeneratorConfig, *, posterior: bool) -> Named:
    """All of an s2 file of v1, v2 or Pro; `posterior`: with the part that only training needs."""
    yield from _front(config)
    yield from _flow(config.flow)
    if not isinstance(config.decoder, HifiganConfig):
        raise ValueError("this model's decoder has no place in a published file")
    yield from _hifigan("dec.", config.decoder)
    if config.verification_width:
        width = config.speaker.speaker_width
        yield from _map("sv_emb", width, config.verification_width)
        yield from _map("ge_to512", config.prior.cross_width, width)
        yield "prelu.weight", (width,)
    if posterior and isinstance(config.posterior, PosteriorConfig):
        yield from _posterior(config.posterior)


def matching(config: MatchingGeneratorConfig) -> Named:
    """All of an s2 file of v3 or v4, what our modules compute or leave out (`KEPT`) included."""
    yield from _front(config)
    yield from _bridge(config.bridge)
    transformer = config.matching.transformer
    yield from _map("linear_mel", transformer.n_mels, config.bridge.width, 1)
    yield from _transformer(transformer)


def _front(config: GeneratorConfig | MatchingGeneratorConfig) -> Named:
    """The quantiser, the prior and the speaker encoder, which all versions share."""
    content = config.prior.input_channels
    yield from _map("ssl_proj", content, content, 2)
    book = "quantizer.vq.layers.0._codebook."
    yield book + "inited", (1,)
    yield book + "cluster_size", (config.codebook_size,)
    yield book + "embed", (config.codebook_size, content)
    yield book + "embed_avg", (config.codebook_size, content)
    yield from _prior(config.prior)
    yield from _speaker(config.speaker)


def _map(name: str, *shape: int) -> Named:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _normed(name: str, *shape: int, bias: int | None = None) -> Named:
    """A weight-normed convolution; `bias` where its length is not the first axis."""
    yield f"{name}.bias", (shape[0] if bias is None else bias,)
    yield f"{name}.weight_g", (shape[0], *[1] * (len(shape) - 1))
    yield f"{name}.weight_v", shape


def _encoder(name: str, config: PriorConfig, layers: int) -> Named:
    hidden, wide = config.hidden, config.filter
    for i in range(layers):
        attn = f"{name}.attn_layers.{i}"
        for side in "kv":
            yield f"{attn}.emb_rel_{side}", (1, 2 * config.window + 1, hidden // config.heads)
        yield from _attention(attn, hidden)
        yield from _map(f"{name}.ffn_layers.{i}.conv_1", wide, hidden, config.kernel)
        yield from _map(f"{name}.ffn_layers.{i}.conv_2", hidden, wide, config.kernel)
        for norm in ("norm_layers_1", "norm_layers_2"):
            yield f"{name}.{norm}.{i}.gamma", (hidden,)
            yield f"{name}.{norm}.{i}.beta", (hidden,)


def _attention(name: str, width: int) -> Named:
    for side in "qkvo":
        yield from _map(f"{name}.conv_{side}", width, width, 1)


def _prior(config: PriorConfig) -> Named:
    hidden, cross = config.hidden, config.cross_width
    yield from _map("enc_p.ssl_proj", hidden, config.input_channels, 1)
    yield "enc_p.text_embedding.weight", (config.text_symbols, hidden)
    yield from _encoder("enc_p.encoder_ssl", config, config.content_layers)
    yield from _encoder("enc_p.encoder_text", config, config.text_layers)
    yield from _encoder("enc_p.encoder2", config, config.joint_layers)
    yield from _attention("enc_p.mrte.cross_attention", cross)
    yield from _map("enc_p.mrte.c_pre", cross, hidden, 1)
    yield from _map("enc_p.mrte.text_pre", cross, hidden, 1)
    yield from _map("enc_p.mrte.c_post", hidden, cross, 1)
    yield from _map("enc_p.proj", 2 * config.latent_channels, hidden, 1)


def _speaker(config: SpeakerConfig) -> Named:
    hidden = config.hidden
    yield from _map("ref_enc.spectral.0.fc", hidden, config.input_bins)
    yield from _map("ref_enc.spectral.3.fc", hidden, hidden)
    for i in range(config.layers):
        yield from _map(f"ref_enc.temporal.{i}.conv1.conv", 2 * hidden, hidden, config.kernel)
    for part in ("w_qs", "w_ks", "w_vs", "fc"):
        yield from _map(f"ref_enc.slf_attn.{part}", hidden, hidden)
    yield from _map("ref_enc.fc.fc", config.speaker_width, hidden)


def _wavenet(name: str, hidden: int, kernel: int, layers: int, speaker: int) -> Named:
    for i in range(layers):
        yield from _normed(f"{name}.in_layers.{i}", 2 * hidden, hidden, kernel)
        mixed = 2 * hidden if i < layers - 1 else hidden
        yield from _normed(f"{name}.res_skip_layers.{i}", mixed, hidden, 1)
    yield from _normed(f"{name}.cond_layer", 2 * hidden * layers, speaker, 1)


def _flow(config: FlowConfig) -> Named:
    half, hidden = config.channels // 2, config.hidden
    for i in range(config.couplings):
        name = f"flow.flows.{2 * i}"  # a flip stands between
        yield from _map(f"{name}.pre", hidden, half, 1)
        yield from _map(f"{name}.post", half, hidden, 1)
        yield from _wavenet(
            f"{name}.enc", hidden, config.kernel, config.layers, config.speaker_width
        )


def _posterior(config: PosteriorConfig) -> Named:
    yield from _map("enc_q.pre", config.hidden, config.input_bins, 1)
    yield from _map("enc_q.proj", 2 * config.latent_channels, config.hidden, 1)
    yield from _wavenet(
        "enc_q.enc", config.hidden, config.kernel, config.layers, config.speaker_width
    )


def _hifigan(prefix: str, config: HifiganConfig) -> Named:
    channels = config.initial_channels
    yield from _map(f"{prefix}conv_pre", channels, config.input_channels, 7)
    if config.speaker_width:
        yield from _map(f"{prefix}cond", channels, config.speaker_width, 1)
    for i, kernel in enumerate(config.kernels):
        half = channels // 2
        yield from _normed(f"{prefix}ups.{i}", channels, half, kernel, bias=half)
        for j, size in enumerate(config.block_kernels):
            block = f"{prefix}resblocks.{len(config.block_kernels) * i + j}"
            for part in ("convs1", "convs2"):
                for k in range(len(config.block_dilations)):
                    yield from _normed(f"{block}.{part}.{k}", half, half, size)
        channels = half
    yield f"{prefix}conv_post.weight", (1, channels, 7)
    if config.final_bias:
        yield f"{prefix}conv_post.bias", (1,)


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
