"""Kokoro-82M (StyleTTS 2, Li et al. 2023) in plain torch, for many clips at a time on a GPU.

`encode`: symbols of a padded batch -> features [B, P, 640], text [B, P, 512], frames of 25 ms of every symbol.
`decode`: those of clips of equal length -> audio [B, 600 T] at 24 kHz. Its instance norms run over time, so padding
would change the sound: equal lengths make it exact. P symbols with a 0 at either end, T frames, C channels.
One copy to the host in `encode` (the frames), none in `decode`.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from packed import read_weights
from torch import Tensor

FRAME, RATE = 600, 24_000  # samples in one unit of duration, hertz
HARMONICS = 9  # of the source, the fundamental among them
EXACT = (
    *("gen.stft", "gen.istft", "gen.l_linear", "gen.conv_post", "gen.window_sum"),
    *("dec.F0_conv", "dec.N_conv"),
)  # float32 whatever the decoder's precision
Affine = dict[str, tuple[Tensor, Tensor]]  # (1 + gamma, beta) by layer, [B * C] each


class Styles:
    """Scales and shifts of all AdaIN layers from one style vector, in one product per width."""

    def __init__(self, weights: dict[str, Tensor], names: list[str], device: torch.device) -> None:
        widths: dict[int, list[str]] = {}
        for name in names:
            widths.setdefault(len(weights[name + ".fc.weight"]) // 2, []).append(name)
        self.groups = []
        for width, members in widths.items():
            halves = [h for n in members for h in weights[n + ".fc.weight"].split(width)]
            weight = torch.stack([h.t() for h in halves])  # [2 layers, 128, C]
            bias = torch.stack([h for n in members for h in weights[n + ".fc.bias"].split(width)])
            bias[::2] += 1
            self.groups.append((members, weight.to(device), bias[:, None].to(device)))

    def __call__(self, style: Tensor) -> Affine:
        """`style` [B, 128] to scale and shift by layer."""
        found: Affine = {}
        for members, weight, bias in self.groups:
            both = torch.baddbmm(bias, style.expand(len(weight), -1, -1), weight)
            flat = both.flatten(1).unbind(0)  # 2 layers x [B * C]
            found.update({name: (flat[2 * i], flat[2 * i + 1]) for i, name in enumerate(members)})
        return found


def adain(x: Tensor, affine: tuple[Tensor, Tensor]) -> Tensor:
    """Instance norm [B, C, T] with a scale and a shift for each clip and channel, in one kernel."""
    b, c, t = x.shape
    flat = x.reshape(1, b * c, t)
    scale, shift = affine
    return F.batch_norm(flat, None, None, scale, shift, training=True).view(b, c, t)


def lstm(weights: dict[str, Tensor], name: str, device: torch.device) -> torch.nn.LSTM:
    """A bidirectional LSTM from ONNX's weights, whose gates stand in another order (i, o, f, c)."""
    w, r, b = (weights[f"{name}.{part}"] for part in "WRB")
    net = torch.nn.LSTM(w.shape[2], r.shape[2], batch_first=True, bidirectional=True)

    def ordered(rows: Tensor) -> Tensor:
        i, o, f, c = rows.chunk(4)
        return torch.cat([i, f, c, o])

    with torch.no_grad():
        for way, tail in enumerate(("", "_reverse")):
            first, second = b[way].chunk(2)
            parts = {"weight_ih": w[way], "weight_hh": r[way], "bias_ih": first, "bias_hh": second}
            for part, value in parts.items():
                getattr(net, f"{part}_l0{tail}").copy_(ordered(value))
    net = net.to(device).eval().requires_grad_(False)
    net.flatten_parameters()
    return net


class Kokoro:
    """The model; `dtype` is the precision of the decoder's convolutions, all before it is float32."""

    def __init__(
        self,
        weights: dict[str, Tensor],
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device, self.dtype = torch.device(device), dtype
        norms = [n.removesuffix(".fc.weight") for n in weights if n.endswith(".fc.weight")]
        prosody = [n for n in norms if n.startswith("pred.")]
        timbre = [n for n in norms if not n.startswith("pred.")]
        self.prosody = Styles(weights, prosody, self.device)
        self.timbre = Styles(weights, timbre, self.device)
        recurrent = sorted(n.removesuffix(".W") for n in weights if n.endswith(".W"))
        self.lstms = {name: lstm(weights, name, self.device) for name in recurrent}
        self.w: dict[str, Tensor] = {}
        for name, value in weights.items():
            if ".fc." in name or name.split(".")[-1] in ("W", "R", "B"):
                continue
            half = name.startswith(("dec.", "gen.")) and not name.startswith(EXACT)
            self.w[name] = value.to(self.device, dtype if half else torch.float32)
        self._prepare()

    def _prepare(self) -> None:
        """What can be worked out of the weights once."""
        w = self.w
        for name in [n for n in w if ".alpha" in n]:  # snake: x + sin(a x)^2 / a
            w[name] = w[name].reshape(-1, 1).contiguous()
            w[name + ".inverse"] = (1 / w[name].float()).to(w[name].dtype)
        for part in ("weight", "bias"):
            w[f"bert.qkv.{part}"] = torch.cat([w.pop(f"bert.{k}.{part}") for k in "qkv"])
        w["bert.pos"] = w["bert.pos"] + w["bert.type"][0]
        w["harmonics"] = torch.arange(1.0, HARMONICS + 1, device=self.device)
        w["gen.stft"] = w["gen.stft"].double()
        w["gen.first"] = 1 / w["gen.window_sum"][10:20]
        w["gen.l_linear.row"] = w["gen.l_linear.weight"].reshape(HARMONICS, 1).contiguous()

    def _exact(self, exact: bool) -> None:
        """TF32 would move durations; the decoder may have it."""
        if self.device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = not exact

    def _there(self, values: np.ndarray, dtype: type = np.float32) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype)).to(self.device)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.w[name + ".weight"], self.w[name + ".bias"])

    def _conv(
        self, x: Tensor, name: str, padding: int, stride: int = 1, dilation: int = 1
    ) -> Tensor:
        weight, bias = self.w[name + ".weight"], self.w.get(name + ".bias")
        return F.conv1d(x, weight, bias, stride, padding, dilation)

    # Up to the durations: a padded batch.

    def encode(
        self, ids: list[list[int]], styles: np.ndarray, speeds: np.ndarray
    ) -> tuple[Tensor, Tensor, list[np.ndarray]]:
        """Durations of clips, LONGEST FIRST, each with its 0 at either end.

        `styles` [B, 256], `speeds` [B]. Returns features [B, P, 640], text [B, P, 512] and the frames of
        every clip's symbols, int64.
        """
        self._exact(True)
        sizes = [len(x) for x in ids]
        host = np.zeros((len(ids), sizes[0]), np.int64)
        for row, x in zip(host, ids, strict=True):
            row[: len(x)] = x
        tokens = self._there(host, np.int64)
        lengths = keep = bias = None
        if sizes[-1] < sizes[0]:
            lengths = torch.tensor(sizes)
            inside = np.arange(sizes[0]) < np.array(sizes)[:, None]
            keep = self._there(inside)[:, None]  # [B, 1, P]
            bias = self._there(np.where(inside, 0, -1e30))[:, None, None]  # [B, 1, 1, P]
        features = self._prosodic(self._bert(tokens, bias), self._there(styles[:, 128:]), lengths)
        y = self._linear(self._run("pred.lstm", features, lengths), "pred.duration")
        counts = y.sigmoid().sum(-1) / self._there(speeds)[:, None]
        counts = counts.round().clamp(min=1).long()  # [B, P]
        text = self._text(tokens, keep, lengths)
        frames = counts.cpu().numpy()
        return features, text, [row[:k].copy() for row, k in zip(frames, sizes, strict=True)]

    def _run(self, name: str, x: Tensor, lengths: Tensor | None) -> Tensor:
        """A bidirectional LSTM over [B, P, C], zeros after `lengths`."""
        if lengths is None:
            return self.lstms[name](x)[0]
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, True, True)
        return torch.nn.utils.rnn.pad_packed_sequence(self.lstms[name](packed)[0], True)[0]

    def _bert(self, ids: Tensor, bias: Tensor | None) -> Tensor:
        """ALBERT: twelve times one layer; ids [B, P] to [B, P, 512]."""

        def norm(x: Tensor, name: str) -> Tensor:
            weight, bias = self.w[f"bert.{name}.weight"], self.w[f"bert.{name}.bias"]
            return F.layer_norm(x, weight.shape, weight, bias, 1e-12)

        b, p = ids.shape
        x = F.embedding(ids, self.w["bert.word"]) + self.w["bert.pos"][:p]
        x = self._linear(norm(x, "ln0"), "bert.in")
        for _ in range(12):
            qkv = self._linear(x, "bert.qkv").view(b, p, 3, 12, 64)
            q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # 3 x [B, 12, P, 64]
            score = torch.matmul(q * 0.125, k.transpose(-1, -2))
            if bias is not None:
                score = score + bias
            heard = torch.matmul(score.softmax(-1), v).transpose(1, 2).reshape(b, p, 768)
            x = norm(x + self._linear(heard, "bert.dense"), "ln1")
            wide = F.gelu(self._linear(x, "bert.ffn"), approximate="tanh")
            x = norm(self._linear(wide, "bert.out") + x, "ln2")
        return self._linear(x, "bert.enc")

    def _prosodic(self, d: Tensor, style: Tensor, lengths: Tensor | None) -> Tensor:
        """Three LSTMs, each followed by an adaptive layer norm: [B, P, 512] to [B, P, 640]."""
        affine = self.prosody(style)
        own = style[:, None].expand(-1, d.shape[1], -1)
        x = torch.cat([d, own], 2)
        for i in (0, 2, 4):
            x = F.layer_norm(self._run(f"pred.lstms.{i}", x, lengths), (512,))
            scale, shift = (a.view(-1, 1, 512) for a in affine[f"pred.lstms.{i + 1}"])
            x = torch.cat([torch.addcmul(shift, x, scale), own], 2)
        return x

    def _text(self, ids: Tensor, keep: Tensor | None, lengths: Tensor | None) -> Tensor:
        """The text encoder: ids [B, P] to [B, P, 512]."""
        t = F.embedding(ids, self.w["text.emb"]).transpose(1, 2)  # [B, 512, P]
        for i in range(3):
            name = f"text.cnn.{i}"
            t = self._conv(t if keep is None else t * keep, name, 2).transpose(1, 2)
            t = F.layer_norm(t, (512,), self.w[name + ".gamma"], self.w[name + ".beta"])
            t = F.leaky_relu(t, 0.2).transpose(1, 2)
        return self._run("text.lstm", t.transpose(1, 2), lengths)

    # From the durations to the wave: clips of equal length.

    def decode(
        self, features: Tensor, text: Tensor, frames: list[np.ndarray], styles: np.ndarray
    ) -> Tensor:
        """Audio [B, 600 T], float32 on the device; every `frames[i].sum()` is T."""
        self._exact(True)
        spread = np.stack([np.repeat(np.arange(len(f)), f) for f in frames])
        index = self._there(spread, np.int64)  # [B, T], the symbol of every frame
        row = torch.arange(len(frames), device=self.device)[:, None]
        both = self._there(styles)
        prosody, timbre = self.prosody(both[:, 128:]), self.timbre(both[:, :128])
        x = self.lstms["pred.shared"](features[row, index])[0].transpose(1, 2).contiguous()
        f0, energy = (self._curve(x, kind, prosody) for kind in ("F0", "N"))  # [B, 1, 2 T]
        self._exact(False)
        source = self._source(f0[:, 0]).to(self.dtype)
        asr = text[row, index].transpose(1, 2).to(self.dtype)  # [B, 512, T]
        f0 = self._conv(f0, "dec.F0_conv", 1, 2).to(self.dtype)
        energy = self._conv(energy, "dec.N_conv", 1, 2).to(self.dtype)
        x = self._block(torch.cat([asr, f0, energy], 1), "dec.encode", timbre)
        rest = [self._conv(asr, "dec.asr_res", 0), f0, energy]
        for i in range(4):
            x = self._block(torch.cat([x, *rest], 1), f"dec.decode.{i}", timbre, 1 + (i == 3))
        return self._generate(x, source, timbre)

    def _curve(self, x: Tensor, kind: str, affine: Affine) -> Tensor:
        """F0 in Hz or energy, two values a frame: [B, 512, T] to [B, 1, 2 T]."""
        for i, stride in enumerate((1, 2, 1)):
            x = self._block(x, f"pred.{kind}.{i}", affine, stride)
        return self._conv(x, f"pred.{kind}_proj", 0)

    def _block(self, x: Tensor, name: str, affine: Affine, stride: int = 1) -> Tensor:
        """A residual block with AdaIN; stride 2 doubles the time axis."""
        y = F.leaky_relu(adain(x, affine[name + ".norm1"]), 0.2)
        if stride == 2:
            y = self._double(y, name + ".pool")
            x = x.repeat_interleave(2, 2, output_size=2 * x.shape[2])
        y = self._conv(y, name + ".conv1", 1)
        y = F.leaky_relu(adain(y, affine[name + ".norm2"]), 0.2)
        y = self._conv(y, name + ".conv2", 1)
        if name + ".conv1x1.weight" in self.w:
            x = self._conv(x, name + ".conv1x1", 0)
        return (y + x).mul_(1 / math.sqrt(2))

    def _double(self, x: Tensor, name: str) -> Tensor:
        """A depthwise transposed convolution, kernel 3, stride 2, written out (cheap everywhere)."""
        weight, bias = self.w[name + ".weight"], self.w[name + ".bias"][:, None]
        even = torch.addcmul(bias, x, weight[:, :, 1])
        odd = torch.addcmul(bias, x, weight[:, :, 2])
        odd[:, :, :-1] += x[:, :, 1:] * weight[:, :, 0]
        return torch.stack([even, odd], 3).flatten(2)

    def _snake(self, x: Tensor, name: str) -> Tensor:
        wave = (x * self.w[name]).sin_()
        return torch.addcmul(x, wave.mul_(wave), self.w[name + ".inverse"])

    def _residual(self, x: Tensor, name: str, affine: Affine, kernel: int) -> Tensor:
        """HiFi-GAN's residual block with AdaIN and snake, dilations 1, 3, 5."""
        for i, dilation in enumerate((1, 3, 5)):
            y = self._snake(adain(x, affine[f"{name}.adain1.{i}"]), f"{name}.alpha1.{i}")
            wide = dilation * (kernel - 1) // 2
            y = self._conv(y, f"{name}.convs1.{i}", wide, dilation=dilation)
            y = self._snake(adain(y, affine[f"{name}.adain2.{i}"]), f"{name}.alpha2.{i}")
            y = self._conv(y, f"{name}.convs2.{i}", (kernel - 1) // 2)
            x = y.add_(x)
        return x

    def _source(self, f0: Tensor) -> Tensor:
        """Magnitudes and phases [B, 22, 120 T + 1] of the harmonic source of `f0` [B, 2 T]."""
        turns = f0[:, :, None] * self.w["harmonics"] / RATE
        turns = turns - turns.floor()
        phase = (turns.cumsum(1) * 2 * 3.1415927).transpose(1, 2) * 300  # the export's pi
        wave = F.interpolate(phase, scale_factor=300.0, mode="linear", align_corners=False).sin_()
        wave = (wave * self.w["gen.l_linear.row"]).sum(1) * 0.1  # [B, 600 T]
        loud = (f0 > 10).to(wave.dtype).repeat_interleave(300, 1, output_size=wave.shape[1])
        wave = torch.tanh(wave * loud + self.w["gen.l_linear.bias"])
        cut = F.pad(wave[:, None], (10, 10), mode="reflect")[:, 0].unfold(1, 20, 5)
        part = torch.matmul(cut.double(), self.w["gen.stft"]).to(wave.dtype).transpose(1, 2)
        re, im = part[:, :11], part[:, 11:]
        return torch.cat([(re * re + im * im).sqrt(), torch.atan2(im, re)], 1)

    def _generate(self, x: Tensor, source: Tensor, timbre: Affine) -> Tensor:
        """Two upsampling stages beside the source, then the inverse STFT."""
        for i, (kernel, stride) in enumerate(((7, 6), (11, 1))):
            beside = self._conv(source, f"gen.noise_convs.{i}", stride // 2, stride)
            beside = self._residual(beside, f"gen.noise_res.{i}", timbre, kernel)
            up, x = f"gen.ups.{i}", F.leaky_relu(x, 0.1)
            weight, bias = self.w[up + ".weight"], self.w[up + ".bias"]
            x = F.conv_transpose1d(x, weight, bias, (10, 6)[i], (5, 3)[i])
            if i:
                x = F.pad(x, (1, 0), mode="reflect")
            x = beside.add_(x)
            total = self._residual(x, f"gen.resblocks.{3 * i}", timbre, 3)
            total += self._residual(x, f"gen.resblocks.{3 * i + 1}", timbre, 7)
            total += self._residual(x, f"gen.resblocks.{3 * i + 2}", timbre, 11)
            x = total.div_(3)
        return self._wave(self._conv(F.leaky_relu(x.float(), 0.01), "gen.conv_post", 3))

    def _wave(self, x: Tensor) -> Tensor:
        """Log magnitudes and phases [B, 22, 120 T + 1] to samples [B, 600 T]."""
        size, turn = x[:, :11].exp(), x[:, 11:].sin()
        part = torch.cat([size * turn.cos(), size * turn.sin()], 1).transpose(1, 2)
        part = torch.matmul(part, self.w["gen.istft"]).unflatten(2, (4, 5))  # [B, n, 4, 5]
        n = part.shape[1]
        out = part.new_zeros(len(part), n + 3, 5)
        for i in range(4):  # windows of 20 samples, 5 apart
            out[:, i : i + n] += part[:, :, i]
        out = out.flatten(1)[:, 10:-10] * 4
        out[:, :10] *= self.w["gen.first"]  # the exported graph does this to the first 10 alone
        return out

    @torch.inference_mode()
    def __call__(
        self, ids: list[int], style: np.ndarray, speed: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """One clip: audio float32 [600 * frames.sum()] and the frames of every symbol."""
        styles = np.asarray(style, np.float32).reshape(1, 256)
        x, t, frames = self.encode([list(ids)], styles, np.array([speed], np.float32))
        return self.decode(x, t, frames, styles)[0].cpu().numpy(), frames[0]


def load(
    folder: Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    raw: Path | None = None,
) -> Kokoro:
    """The model of a packed folder; `raw`: its weights, already decompressed."""
    return Kokoro(read_weights(folder, raw), device, dtype)
