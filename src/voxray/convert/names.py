"""The published tensor names and shapes that a configuration stands for: what an export must hold.

Written out from the configurations, so that a tuned voice can go back to where it came from. Each
function yields (name, shape).
"""

from __future__ import annotations

from collections.abc import Iterator

from voxray.config import (
    FlowConfig,
    GeneratorConfig,
    GPTConfig,
    HifiganConfig,
    PosteriorConfig,
    PriorConfig,
    SpeakerConfig,
)

Named = Iterator[tuple[str, tuple[int, ...]]]


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
    content = config.prior.input_channels
    yield from _map("ssl_proj", content, content, 2)
    book = "quantizer.vq.layers.0._codebook."
    yield book + "inited", (1,)
    yield book + "cluster_size", (config.codebook_size,)
    yield book + "embed", (config.codebook_size, content)
    yield book + "embed_avg", (config.codebook_size, content)
    yield from _prior(config.prior)
    yield from _speaker(config.speaker)
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
