"""Kokoro-82M's ONNX file and voices -> a packed folder that `model.py` reads: 78 MB in int8.

    python pack.py --onnx FILE --voices FOLDER --teacher FOLDER --out packed

The names of the nodes are those of one export (README.md gives its SHA-256): weights of linear layers are known there
by a number alone, so another export needs another table. Big matrices become int8 with a scale a row, what decides
pitch, durations and the last samples stays float32 or float16.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import command
import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from packed import LONGEST, WIDTH, write_voices, write_weights

Arrays = dict[str, np.ndarray]
EXACT = (
    *("gen.stft", "gen.istft", "gen.window_sum", "gen.l_linear"),
    *("pred.F0_proj", "pred.N_proj", "dec.F0_conv", "dec.N_conv"),
)  # float32
HALF = (
    *("pred.duration", "gen.conv_post", "gen.noise_convs", "gen.ups.1"),
    *("bert.word", "bert.pos", "bert.type", "text.emb"),
)  # float16 whatever their size
BIG = 30_000  # values; smaller tensors are not worth a scale
SWAPPED = "gen.ups."  # transposed convolutions, [in, out, K]
PATHS = (
    ("decoder/decoder/generator/", "gen."),
    ("decoder/decoder/", "dec."),
    ("encoder/predictor/text_encoder/", "pred."),
    ("encoder/predictor/", "pred."),
    ("encoder/text_encoder/", "text."),
    ("encoder/", "pred."),
)
ALBERT = "encoder.bert.encoder.albert_layer_groups.0.albert_layers.0."
LINEAR = {  # our name: number of its matrix in the export, its bias
    "bert.in": (6547, "encoder.bert.encoder.embedding_hidden_mapping_in.bias"),
    "bert.q": (6548, ALBERT + "attention.query.bias"),
    "bert.k": (6551, ALBERT + "attention.key.bias"),
    "bert.v": (6554, ALBERT + "attention.value.bias"),
    "bert.dense": (6558, ALBERT + "attention.dense.bias"),
    "bert.ffn": (6559, ALBERT + "ffn.bias"),
    "bert.out": (6560, ALBERT + "ffn_output.bias"),
    "bert.enc": (6704, "encoder.bert_encoder.bias"),
    "pred.duration": (6886, "encoder.predictor.duration_proj.linear_layer.bias"),
}
NORMS = {
    "bert.ln0": "encoder.bert.embeddings.LayerNorm.",
    "bert.ln1": ALBERT + "attention.LayerNorm.",
    "bert.ln2": ALBERT + "full_layer_layer_norm.",
}
SOURCE = "decoder.decoder.generator.m_source.l_linear.bias"
ISTFT = "decoder.decoder.generator.stft.istft.stft."
WINDOW = "/decoder/decoder/generator/Constant_17_output_0"


def short(path: str) -> str:
    """Our name for a node's path in the graph."""
    path = path.strip("/")
    for long, brief in PATHS:
        if path.startswith(long):
            path = brief + path.removeprefix(long)
            break
    name = path.replace("/", ".").replace("dec.asr_res.asr_res.0", "dec.asr_res")
    return re.sub(r"^(text\.cnn\.\d)\..*", r"\1", name)


def from_nodes(graph: onnx.GraphProto, stored: Arrays) -> Arrays:
    """Weights of convolutions, style layers and LSTMs, which the graph's paths name."""
    found: Arrays = {}
    for node in graph.node:
        name = short(node.output[0].rsplit("/", 1)[0])
        if node.op_type in ("Conv", "ConvTranspose", "Gemm") and "istft" not in name:
            for part, value in zip(("weight", "bias"), node.input[1:], strict=False):
                found[f"{name}.{part}"] = stored[value]
        elif node.op_type == "LSTM":
            for part, value in zip("WRB", node.input[1:4], strict=True):
                found[f"{name}.{part}"] = stored[value]
    return found


def from_names(stored: Arrays) -> Arrays:
    """Weights that go by the name of their parameter or by a number."""
    found: Arrays = {}
    for name, (number, bias) in LINEAR.items():
        found[f"{name}.weight"] = stored[f"onnx::MatMul_{number}"].T
        found[f"{name}.bias"] = stored[bias]
    for name, start in NORMS.items():
        for part in ("weight", "bias"):
            found[f"{name}.{part}"] = stored[start + part]
    for i in range(3):
        for part in ("gamma", "beta"):
            found[f"text.cnn.{i}.{part}"] = stored[f"encoder.text_encoder.cnn.{i}.1.{part}"]
    for brief, long in (("word", "word"), ("pos", "position"), ("type", "token_type")):
        found[f"bert.{brief}"] = stored[f"encoder.bert.embeddings.{long}_embeddings.weight"]
    found["text.emb"] = stored["encoder.text_encoder.embedding.weight"]
    for name, value in stored.items():
        if match := re.match(r"decoder\.decoder\.generator\.(.*\.alpha.*)", name):
            found["gen." + match[1]] = value
    found["gen.l_linear.weight"] = stored["onnx::MatMul_6993"]
    found["gen.l_linear.bias"] = stored[SOURCE]
    found["gen.istft"] = stored[ISTFT + "inverse_basis"][:, 0]
    found["gen.window_sum"] = stored[ISTFT + "window_sum"]
    return found


def stft_basis(window: np.ndarray) -> np.ndarray:
    """The windowed DFT [20, 22] (real, imaginary) as onnxruntime's STFT computes it, to the last bit."""
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("STFT", ["x", "hop", "window", "size"], ["y"], onesided=1)],
        "basis",
        [helper.make_tensor_value_info("x", kind, [20, 20])],
        [helper.make_tensor_value_info("y", kind, None)],
        [
            numpy_helper.from_array(np.int64(5), "hop"),
            numpy_helper.from_array(window, "window"),
            numpy_helper.from_array(np.int64(20), "size"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    y = np.asarray(session.run(None, {"x": np.eye(20, dtype=np.float32)})[0])  # [20, 1, 11, 2]
    return np.concatenate([y[:, 0, :, 0], y[:, 0, :, 1]], 1)


def collect(path: Path) -> Arrays:
    """All weights of the export by our names; ValueError if it is another export."""
    graph = onnx.load(path).graph
    stored = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    try:
        found = {**from_nodes(graph, stored), **from_names(stored)}
        found["gen.stft"] = stft_basis(stored[WINDOW])
    except KeyError as error:
        raise ValueError(f"{path}: no {error}: not the export that README.md names") from error
    return found


def kind(precision: str, name: str, value: np.ndarray) -> str:
    """How a tensor is kept."""
    if precision == "float32" or name.startswith(EXACT):
        return "float32"
    big = value.ndim >= 2 and value.size >= BIG and not name.startswith(HALF)
    return "int8" if precision == "int8" and big else "float16"


def work(args: argparse.Namespace) -> None:
    """Write weights and voices."""
    styles = {
        path.stem: np.fromfile(path, np.float32).reshape(LONGEST, WIDTH)
        for path in sorted(args.voices.glob("*.bin"))
    }
    if not styles:
        raise FileNotFoundError(f"no *.bin in {args.voices}")
    write_voices(args.out, styles, command.load_symbols(args.teacher).VOCAB)
    weights = collect(args.onnx)
    size = write_weights(
        args.out, weights, lambda name, value: kind(args.precision, name, value), SWAPPED
    )
    values = sum(value.size for value in weights.values())
    print(f"{len(weights)} tensors, {values:,} values, {size / 1e6:.1f} MB; {len(styles)} voices")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--onnx", type=Path, required=True, help="the export with durations")
    parser.add_argument("--voices", type=Path, required=True, help="folder of *.bin")
    parser.add_argument("--teacher", type=Path, required=True, help="folder with symbols.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--precision", choices=("int8", "float16", "float32"), default="int8")
    command.run(parser, work)
