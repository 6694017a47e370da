"""Which model a foreign file holds, told by its tensors: a ForeignFile in, an `Identity` out.

Every piece of evidence (a tensor's presence, the length of one axis, the version tag, a known
file's hash, what the user says) permits some versions and speaks one sentence. What all permit is
the version; evidence that excludes each other is refused, in those sentences. v3 and v4 have the
same tensors, so that one of the last three must decide. Sizes of files are never looked at: they
mislead (a re-saved v4 is as large as v3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .errors import ForeignFileError, shown
from .reader import ForeignFile

Kind = Literal[
    "s1", "s2", "s2-lora", "vocoder-v4", "bigvgan", "speaker-verification", "training-state",
    "discriminator",
]  # fmt: skip
Shapes = Mapping[str, tuple[int, ...]]

LABELS = {
    "v1": "v1", "v2": "v2", "v2pro": "v2Pro", "v2proplus": "v2ProPlus", "v3": "v3", "v4": "v4",
}  # fmt: skip
ALL = frozenset(LABELS)
MATCHING = frozenset({"v3", "v4"})  # flow matching and a vocoder
DECODING = ALL - MATCHING
VERIFYING = frozenset({"v2pro", "v2proplus"})  # with a speaker-verification vector
AFTER_V1 = ALL - {"v1"}

TAGGED = {  # tag: version, LoRA
    "00": ("v1", False), "01": ("v2", False), "02": ("v3", False), "03": ("v3", True),
    "04": ("v4", True), "05": ("v2pro", False), "06": ("v2proplus", False),
}  # fmt: skip
PRETRAINED = {  # MD5 of the first 8192 bytes: name, version (reference reader, its own table)
    "dc3c97e17592963677a4a1681f30c653": ("s2G488k", "v1"),
    "43797be674a37c1c83ee81081941ed0f": ("s2Gv3", "v3"),
    "6642b37f3dbb1f76882b69937c95a5f3": ("s2G2333k", "v2"),
    "4f26b9476d0c5033e04162c486074374": ("s2Gv4", "v4"),
    "c7e9fce2223f3db685cdfa1e6368728a": ("s2Gv2Pro", "v2pro"),
    "66b313e39455b57ab1b0bc0b239c9d0a": ("s2Gv2ProPlus", "v2proplus"),
}
S1_TEXT = "model.ar_text_embedding.word_embeddings.weight"
S2_TEXT = "enc_p.text_embedding.weight"
LORA = "cfm.base_model."
S1_VERSIONS = {512: "v1", 732: "v2"}  # text rows; v2 serves every later version as well
LENGTHS: dict[tuple[str, int], tuple[str, dict[int, frozenset[str]]]] = {
    (S2_TEXT, 0): ("text symbols", {322: frozenset({"v1"}), 732: AFTER_V1}),
    ("ref_enc.spectral.0.fc.weight", 1): (
        "reference bins", {1025: frozenset({"v1"}), 704: AFTER_V1},
    ),
    ("dec.conv_pre.weight", 0): (
        "channels at the decoder's entrance",
        {512: DECODING - {"v2proplus"}, 768: frozenset({"v2proplus"})},
    ),
    ("ref_enc.fc.fc.weight", 0): (
        "numbers in the speaker vector", {512: ALL - VERIFYING, 1024: VERIFYING},
    ),
}  # fmt: skip
NEEDED = (S2_TEXT, "ref_enc.spectral.0.fc.weight")  # of every whole s2 file
BACK = frozenset({"ref_enc", "quantizer", "bridge", "wns1", "linear_mel", "cfm"})
FRONT = frozenset({"enc_p", "ref_enc", "ssl_proj", "quantizer"})
PARTS: dict[str, frozenset[str]] = {
    "s1": frozenset({"model"}),
    "s2-lora": BACK,
    "discriminator": frozenset({"discriminators"}),
    "speaker-verification": frozenset(
        "conv1 bn1 layer1 layer2 layer3 layer4 layer3_ds fuse34 seg_1".split()
    ),
    "vocoder-v4": frozenset({"conv_pre", "ups", "resblocks", "conv_post"}),
    "bigvgan": frozenset({"conv_pre", "ups", "resblocks", "activation_post", "conv_post"}),
}
WHAT: dict[str, tuple[str, str]] = {  # what a kind is; what to do with one in a wrong place
    "s1": ("an s1 file{of} (text to tokens)", "give it as the GPT (s1) file"),
    "s2": ("an s2 file{of} (tokens to sound)", "give it as the SoVITS (s2) file"),
    "s2-lora": (
        "a LoRA{of} (only the difference to a pretrained base)",
        "give the base, the pretrained s2 file of that version, along with it",
    ),
    "vocoder-v4": ("the vocoder{of} (mel to sound)", "give it along with an s2 file of v4"),
    "bigvgan": ("the vocoder{of} (BigVGAN, mel to sound)", "give it along with an s2 file of v3"),
    "speaker-verification": (
        "the speaker-verification model",
        "give it along with an s2 file of v2Pro or v2ProPlus",
    ),
    "training-state": (
        "a training state{of} (to go on training with), no voice",
        "give the file that the training exported for use",
    ),
    "discriminator": ("a discriminator (for training only)", "give the generator's file (s2G)"),
}


@dataclass(frozen=True)
class Identity:
    """What a file is, and the explanation sentence by sentence."""

    path: Path
    kind: Kind
    version: str  # our preset's name; an s1 of `v2` serves every later version; may be empty
    label: str  # the version as the family spells it
    symbols: int | None  # rows of the text embedding
    posterior: bool  # holds the posterior encoder, which training needs
    lora_rank: int | None
    unknown: tuple[str, ...]  # tensors that this kind does not have
    reasons: tuple[str, ...]


def identify(file: ForeignFile, version: str | None = None) -> Identity:
    """What the file holds; `version` decides between v3 and v4 and must agree with the content.

    ForeignFileError where the content contradicts itself, its tag or `version`.
    """
    try:
        return _identify(file, _preset(version))
    except ForeignFileError as error:
        raise ForeignFileError(f"{file.path}: {error}") from error


def require(identity: Identity, wanted: Kind) -> None:
    """ForeignFileError, with what to do, where a file is of another kind than the one wanted."""
    if identity.kind == wanted:
        return
    raise ForeignFileError(
        f"{identity.path} is {_what(identity.kind, identity.label)}; needed is {_what(wanted)}: "
        + WHAT[identity.kind][1]
    )


def _what(kind: Kind, label: str = "") -> str:
    return WHAT[kind][0].format(of=f" of {label}" if label else "")


@dataclass(frozen=True)
class _Evidence:
    sentence: str
    permits: frozenset[str]


def _inside(evidence: _Evidence) -> str:
    """The sentence within another one."""
    return evidence.sentence[0].lower() + evidence.sentence[1:]


def _identify(file: ForeignFile, wanted: str | None) -> Identity:
    shapes = {name: tuple(tensor.shape) for name, tensor in file.tensors.items()}
    kind = _kind(shapes)
    rank: int | None = None
    evidence: list[_Evidence] = []
    if kind in ("s2", "s2-lora"):
        evidence = _labels(file, wanted, kind)
        evidence = (_lora(shapes) if kind == "s2-lora" else _generator(shapes)) + evidence
        version = _agreed(evidence, file.config)
        if kind == "s2-lora":
            rank, sentence = _rank(file, shapes)
            evidence.append(_Evidence(sentence, ALL))
    else:
        version, evidence = _fixed_version(kind, shapes)
        _refuse_labels(file, kind, version, wanted)
    unknown = _unknown(kind, version, shapes)
    training = "model" in file.top_level and "weight" not in file.top_level
    what = _what(kind, LABELS.get(version, ""))
    reasons = [what[0].upper() + what[1:], *(piece.sentence for piece in evidence)]
    reasons += _remarks(file, version, training, unknown)
    return Identity(
        path=file.path,
        kind="training-state" if training else kind,
        version=version,
        label=LABELS.get(version, ""),
        symbols=_symbols(kind, shapes),
        posterior=any(name.startswith("enc_q.") for name in shapes),
        lora_rank=rank,
        unknown=unknown,
        reasons=tuple(reason + "." for reason in reasons),
    )


def _preset(version: str | None) -> str | None:
    if version is None or version.lower() in ALL:
        return version.lower() if version else None
    raise ForeignFileError(
        f"{shown(version)!r} is no version; choose one of {', '.join(LABELS.values())}"
    )


def _kind(shapes: Shapes) -> Kind:
    """The kind by the names of its parts (what stands before a tensor name's first dot)."""
    parts = {name.partition(".")[0] for name in shapes}
    if any(name.startswith(LORA) for name in shapes):
        return "s2-lora"
    if S1_TEXT in shapes:
        return "s1"
    if "discriminators" in parts:
        return "discriminator"
    if parts >= {"enc_p", "ref_enc"}:
        return "s2"
    if parts >= {"conv1", "bn1", "layer1"}:
        return "speaker-verification"
    if {"conv_pre", "conv_post"} <= parts <= PARTS["bigvgan"]:
        filtered = any(".activations." in name for name in shapes)
        return "bigvgan" if filtered or "activation_post" in parts else "vocoder-v4"
    raise ForeignFileError(
        f"its tensors ({shown(', '.join(sorted(parts)))}) are those of no model of the family; "
        "give an s1, s2 or vocoder file of GPT-SoVITS"
    )


def _generator(shapes: Shapes) -> list[_Evidence]:
    """Evidence of a whole s2 model's tensors."""
    parts = {name.partition(".")[0] for name in shapes}
    matching, decoding = "cfm" in parts, "dec.conv_pre.weight" in shapes
    missing = [name for name in NEEDED if name not in shapes]
    if missing or not (matching or decoding):
        name = missing[0] if missing else "cfm or dec.conv_pre.weight"
        raise ForeignFileError(f"incomplete: it has no {name}; download or copy the file again")
    found = []
    if matching:
        found.append(_Evidence("Its cfm.* tensors make mel frames by flow matching", MATCHING))
    if decoding:
        found.append(_Evidence("Its dec.* tensors make sound directly", DECODING))
    if "sv_emb.weight" in shapes:
        found.append(_Evidence("It takes a speaker-verification vector (sv_emb)", VERIFYING))
    else:
        found.append(_Evidence("It takes no speaker-verification vector", ALL - VERIFYING))
    return found + _lengths(shapes)


def _lora(shapes: Shapes) -> list[_Evidence]:
    sentence = "Its cfm.base_model.* tensors change a base model's attention"
    return [_Evidence(sentence, MATCHING), *_lengths(shapes)]


def _lengths(shapes: Shapes) -> list[_Evidence]:
    found = []
    for (name, axis), (what, versions) in LENGTHS.items():
        if name not in shapes:
            continue
        length = shapes[name][axis] if axis < len(shapes[name]) else 0
        if length not in versions:
            known = " or ".join(map(str, versions))
            raise ForeignFileError(f"it has {length} {what} ({name}) where the family has {known}")
        found.append(_Evidence(f"It has {length} {what}", versions[length]))
    return found


def _labels(file: ForeignFile, wanted: str | None, kind: Kind) -> list[_Evidence]:
    """What is written on the outside: tag, known hash, the user's word."""
    found = []
    if file.tag in TAGGED:
        version, lora = TAGGED[file.tag]
        what = f"{LABELS[version]}{' LoRA' if lora else ''}"
        if lora != (kind == "s2-lora"):
            raise ForeignFileError(
                f"contradictory: its tag {file.tag} says {what}, but it is {_what(kind)}"
            )
        found.append(_Evidence(f"Its tag {file.tag} says {what}", frozenset({version})))
    if file.head_md5 in PRETRAINED:
        name, version = PRETRAINED[file.head_md5]
        found.append(_Evidence(f"It begins like the known file {name}", frozenset({version})))
    if wanted:
        found.append(_Evidence(f"{LABELS[wanted]} was asked for", frozenset({wanted})))
    return found


def _agreed(evidence: list[_Evidence], config: dict | None) -> str:
    """The one version that all evidence permits."""
    left = ALL
    for number, piece in enumerate(evidence):
        if not left & piece.permits:
            against = next(
                (e for e in evidence[:number] if not e.permits & piece.permits), evidence[0]
            )
            raise ForeignFileError(
                f"contradictory: {_inside(against)}, but {_inside(piece)}: it is mislabelled "
                "or mixed from two models; ask its maker"
            )
        left &= piece.permits
    if left == MATCHING:
        says = _config_version(config)
        hint = f" (its config says {shown(says)})" if says else ""
        raise ForeignFileError(
            "v3 or v4: the two have the same tensors and this file carries no tag"
            f"{hint}; say which it is, version v3 or version v4"
        )
    if len(left) != 1:
        raise ForeignFileError(f"its version stays open between {', '.join(sorted(left))}")
    return next(iter(left))


def _rank(file: ForeignFile, shapes: Shapes) -> tuple[int, str]:
    """The LoRA's rank by its tensors, A [rank, in] and B [out, rank], against the stated one."""
    first = {n: s for n, s in shapes.items() if ".lora_A." in n}
    ranks = {shape[0] if len(shape) == 2 else 0 for shape in first.values()}
    for name in first:
        other = shapes.get(name.replace(".lora_A.", ".lora_B."), ())
        ranks.add(other[1] if len(other) == 2 else 0)
    second = sum(".lora_B." in name for name in shapes)
    if len(ranks) != 1 or 0 in ranks or second != len(first):
        raise ForeignFileError("its LoRA tensors do not form pairs of one rank; ask its maker")
    rank = ranks.pop()
    if file.lora_rank is None:
        return rank, f"Rank {rank} by its tensors; the file does not state it"
    if file.lora_rank != rank:
        raise ForeignFileError(
            f"contradictory: it states rank {file.lora_rank}, its tensors have rank {rank}; "
            "ask its maker"
        )
    return rank, f"Rank {rank}, by its tensors and as stated"


def _fixed_version(kind: Kind, shapes: Shapes) -> tuple[str, list[_Evidence]]:
    """Version of a model that is not an s2."""
    if kind != "s1":
        return {"vocoder-v4": "v4", "bigvgan": "v3"}.get(kind, ""), []
    rows = shapes[S1_TEXT][0] if shapes[S1_TEXT] else 0
    if rows not in S1_VERSIONS:
        raise ForeignFileError(
            f"it has {rows} text rows ({S1_TEXT}) where the family has 512 or 732"
        )
    users = "v1" if rows == 512 else "v2, v2Pro, v2ProPlus, v3 and v4"
    return S1_VERSIONS[rows], [_Evidence(f"It has {rows} text rows, for use with {users}", ALL)]


def _refuse_labels(file: ForeignFile, kind: Kind, version: str, wanted: str | None) -> None:
    """Only s2 files carry tags; the user's word must fit what is known."""
    if file.tag in TAGGED:
        raise ForeignFileError(
            f"contradictory: its tag {file.tag} marks an s2 file of "
            f"{LABELS[TAGGED[file.tag][0]]}, but it is {_what(kind)}"
        )
    serves = AFTER_V1 if (kind, version) == ("s1", "v2") else {version}
    if wanted and version and wanted not in serves:
        raise ForeignFileError(
            f"contradictory: {LABELS[wanted]} was asked for, but it is "
            + _what(kind, LABELS[version])
        )


def _unknown(kind: Kind, version: str, shapes: Shapes) -> tuple[str, ...]:
    parts = PARTS.get(kind)
    if parts is None:  # a whole s2 model
        parts = FRONT | (BACK if version in MATCHING else {"dec", "enc_q", "flow"})
        parts |= {"sv_emb", "ge_to512", "prelu"} if version in VERIFYING else frozenset()
    return tuple(name for name in shapes if name.partition(".")[0] not in parts)


def _symbols(kind: Kind, shapes: Shapes) -> int | None:
    shape = shapes.get({"s1": S1_TEXT, "s2": S2_TEXT}.get(kind, ""))
    return shape[0] if shape else None


def _config_version(config: dict | None) -> str:
    model = (config or {}).get("model")
    says = model.get("version") if isinstance(model, dict) else None
    return says if isinstance(says, str) else ""


def _remarks(
    file: ForeignFile, version: str, training: bool, unknown: tuple[str, ...]
) -> list[str]:
    remarks = []
    says = _config_version(file.config)
    if says and version and says.lower() != version:
        remarks.append(f"Its config says {shown(says)}, which its tensors do not bear out")
    if training:
        remarks.append("It is a training state: the weights lie under `model`, beside an optimiser")
    if unknown:
        names = ", ".join(shown(name) for name in unknown[:3])
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        remarks.append(f"Unknown to this kind of model: {names}{more}")
    return remarks
