"""Everything that speaks, in one folder: GPT, generator, content encoder, quantiser and their config.

`Bundle.load(folder)` reads `config.json` + safetensors through the one door; `Bundle.builtin()` is
the model that ships with the package. In: a folder, or the name of a model in the package. Out: modules in
eval mode. A folder may hold a part of a model and name its base in the package, which gives the rest
(`mini-small`: another GPT stage on `mini`). A `FamilyBundle` is a published model, converted: its content
encoder is HuBERT, found by `pretrained`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voxray import audio, checkpoint
from voxray.audio.published import (
    check_length,
    prompt_wave,
    reference_wave,
    scaled,
    sinc_resample,
    vocoder_mel,
)
from voxray.config import BundleConfig, ContentConfig, GPTConfig, MatchingGeneratorConfig
from voxray.convert.names import KEPT
from voxray.heap import trim
from voxray.models.decoder_hifigan import HifiganDecoder
from voxray.models.generator import Generator
from voxray.models.generator_matching import MatchingGenerator
from voxray.models.gpt import GPT
from voxray.models.layers import fuse_weight_norm
from voxray.models.memory import Memory
from voxray.models.packed import pack_linears, quicken
from voxray.models.packed_conv import best_kind
from voxray.models.recorded import record_step
from voxray.models.student import Student
from voxray.packaged import BASE_FIELDS, DEFAULT, base_of, builtin_models, home, parts_of
from voxray.pretrained import G2PW, ROBERTA, Pretrained
from voxray.text import Phonemes, PublishedPipeline, TextPipeline
from voxray.text.published import PublishedPhonemes
from voxray.text.published.segments import MODES
from voxray.text.symbols import SYMBOL_TO_ID
from voxray.tokens.content import ContentEncoder
from voxray.tokens.phones import PhoneTable
from voxray.tokens.quantiser import Quantiser

Wave = NDArray[np.float32]
PARTS = ("gpt", "generator", "content", "quantiser")
RATE = 16_000  # of what a content encoder hears
Precision = Literal["float32", "fast", "int8"]
CHUNK = 20 * RATE
LATENT_RATE, TOKEN_SAMPLES = 24_000, 960  # at which latents are heard; samples of a token there
MEMORY_SECONDS = 60  # of a reference are remembered at most
WHOLE = {"v3": "02", "v4": "PK"}  # how a file begins that is no LoRA


@dataclass
class Bundle:
    """The modules of one model, ready to speak."""

    config: BundleConfig
    gpt: GPT  # or a `Student`, which is called alike
    generator: Generator | MatchingGenerator
    content: nn.Module
    quantiser: Quantiser
    precision: Precision = field(default="float32", kw_only=True)
    # SHA-256 of the weights' file, behind a + that of the base's; empty: they are no file's.
    weights_hash: str = field(default="", kw_only=True)
    rounded: tuple[str, ...] = field(default=(), kw_only=True)  # prefixes of what is kept in 8 bits
    phones: PhoneTable | None = field(default=None, kw_only=True)  # what its codes sound like

    default_precision: ClassVar[Precision] = "float32"
    quick: ClassVar[bool] = True  # float32 tokens from fp16 copies of the weights that fp16 holds
    trims: ClassVar[bool] = True  # hears a reference cut to its speech
    streams: ClassVar[bool] = True  # can speak a sentence chunk by chunk
    windowed: ClassVar[bool] = False  # each chunk from a prior that reads every token there is
    languages: ClassVar[tuple[str, ...]] = ("auto", "en", "zh")
    parts: ClassVar[tuple[str, ...]] = PARTS

    @classmethod
    def build(cls, config: BundleConfig) -> Bundle:
        """Fresh random weights (tests, training)."""
        return cls(
            config,
            _gpt(config),
            _generator(config),
            ContentEncoder(config.content).eval(),
            Quantiser(config.content).eval(),
        )

    @classmethod
    def load(cls, folder: str | Path, *, precision: Precision | None = None) -> Bundle:
        """Read a bundle from its folder, or one in the package by its name; ValueError or OSError says what is
        wrong with the folder.

        `precision`: "float32" computes as trained; "fast" keeps the GPT's weights as fp16 and, in a
        published model, decodes in bf16 where the processor multiplies that; "int8" also rounds the GPT to
        8 bits. None: the model's own choice, "fast" for published models. Only "float32" can be saved or
        differentiated.
        """
        if precision is not None and precision not in get_args(Precision):
            raise ValueError(f"precision is {precision!r}; choose {', '.join(get_args(Precision))}")
        folder = home(folder)
        if not folder.exists():
            raise FileNotFoundError(
                f"there is no model {str(folder)!r}: name its folder, or one in the package "
                f"({', '.join(builtin_models()) or 'there are none'})"
            )
        raw, state = checkpoint.load(folder, widened=False)
        config = BundleConfig(**raw)
        rounded, hashed = checkpoint.rounded_parts(folder), checkpoint.weights_hash(folder)
        if config.base:
            base = base_of(config)
            state = {**parts_of(base, state, config), **state}
            rounded = tuple(dict.fromkeys((*rounded, *checkpoint.rounded_parts(base))))
            hashed = f"{hashed}+{checkpoint.weights_hash(base)}"
        with checkpoint.undrawn():
            bundle = (FamilyBundle if config.version else Bundle).build(config)
        bundle.fit(state)
        for part in bundle.parts:
            checkpoint.restore(getattr(bundle, part), state, part)
        del state  # as large as the model
        bundle.ready(precision or bundle.default_precision)
        bundle.weights_hash, bundle.rounded = hashed, rounded
        bundle.phones = _phones(folder, config)
        trim()
        return bundle

    @classmethod
    def builtin(cls) -> Bundle:
        """The model in the package, read once."""
        return _builtin()

    def fit(self, state: Mapping[str, Tensor]) -> None:
        """What is to be done before the weights go in."""

    def ready(self, precision: Precision = "float32") -> None:
        """What is left to do once the weights are in."""
        self.precision = precision
        if precision == "float32" and self.quick:
            quicken(self.gpt)
        if precision == "int8":
            pack_linears(self.gpt.blocks, "int8")
        if precision != "float32":
            pack_linears(self.gpt, "half")  # what is not packed yet

    def save(
        self, folder: Path, *, half: bool = True, rounded: Sequence[str] | None = None
    ) -> None:
        """Write config and weights (fp16 unless told otherwise), all of them, whatever the base.

        `rounded`: prefixes of the parts whose large matrices are kept in 8 bits (`checkpoint`); None: those
        that were so in the folder that was loaded.
        """
        if self.precision != "float32":
            raise ValueError(
                f"the model was loaded with precision {self.precision!r}, which has lost digits: "
                "load it with precision='float32' to save it"
            )
        state = checkpoint.joined(
            **{p: getattr(self, p).state_dict() for p in self.parts}, **self.beside()
        )
        config = self.described().model_copy(update=dict.fromkeys(BASE_FIELDS, ""))
        kept = self.rounded if rounded is None else rounded
        checkpoint.save(folder, config.model_dump(mode="json"), state, half=half, rounded=kept)
        if self.phones is not None:
            self.phones.save(Path(folder))

    def beside(self) -> dict[str, dict[str, Tensor]]:
        """Tensors that are saved beside the parts."""
        return {}

    def described(self) -> BundleConfig:
        """The config that is saved with the weights."""
        return self.config

    @property
    def name(self) -> str:
        """What the model is called in records."""
        return self.config.name

    @property
    def hears_as(self) -> str:
        """The model whose voices are this one's: its base, where it has one, for that is who hears; or the one it was made from by
        making the GPT stage smaller.
        """
        return self.config.base or self.config.voices or self.name

    @property
    def fingerprint(self) -> str:
        """Of the text pipeline that the model was trained with; empty: unknown."""
        return self.config.fingerprint

    @property
    def silent_text(self) -> list[int]:
        """Phonemes to give the prior when the words are unknown (voice conversion)."""
        return [SYMBOL_TO_ID["SP"]]

    def text_pipeline(self, lexicon: Path | None = None) -> TextPipeline:
        """The front end that the model reads with."""
        return TextPipeline(lexicon)

    def context(self, phonemes: Phonemes) -> Tensor | None:
        """Context features [P, E] of a sentence; None: the model takes none."""
        return None

    @torch.inference_mode()
    def speaker_vector(self, wave: Wave, rate: int) -> Tensor:
        """Reference [N] -> speaker vector [G]."""
        heard = audio.resample(wave, rate, self.generator.reference_rate)
        return self.generator.speaker_vector(torch.from_numpy(heard)[None])[0].float().clone()

    @torch.inference_mode()
    def memory(self, wave: Wave, rate: int, speaker: Tensor | None = None) -> Memory | None:
        """Reference [N] -> its frames, of the first minute, and how they differ from what is said of them with
        its speaker vector [G] (heard here if not given); None: the model looks nothing up.
        """
        generator = self.generator
        if not isinstance(generator, Generator) or generator.hearing is None:
            return None
        heard = audio.resample(wave[: MEMORY_SECONDS * rate], rate, LATENT_RATE)
        heard = heard * audio.speech_gain(heard)
        tokens = self.encode(torch.from_numpy(audio.resample(heard, LATENT_RATE, RATE)))
        count = min(len(tokens), len(heard) // TOKEN_SAMPLES)
        latents = self.latents(heard[: count * TOKEN_SAMPLES])
        memory = Memory(tokens[None, :count], latents)
        if speaker is None:
            speaker = self.speaker_vector(wave, rate)
        return generator.calibrated(memory, speaker[None], self.silent_text[0]).plain()

    @torch.inference_mode()
    def reconstruct(self, wave: Wave, speaker: Tensor) -> tuple[Wave, int]:
        """Recording [N] at 16 kHz -> what the decoder makes of its own latents, and the rate: the most that tokens
        can come to. ValueError: the model does not hear latents.
        """
        heard = audio.resample(wave, RATE, LATENT_RATE)
        gain = np.float32(audio.speech_gain(heard))
        latents = self.latents(heard * gain)
        noise = torch.randn(1, 480 * latents.shape[2], generator=torch.Generator().manual_seed(0))
        made, _ = self._hears().decoder.speak(latents, speaker[None], noise)
        return made[0].float().numpy() / gain, LATENT_RATE

    def _hears(self) -> Generator:
        """The generator, of models that hear latents."""
        if not isinstance(self.generator, Generator) or self.generator.hearing is None:
            raise ValueError("this model hears no latents of a recording")
        return self.generator

    def latents(self, wave: np.ndarray) -> Tensor:
        """Speech [N] at 24 kHz -> its latents [1, Z, T], whole tokens of it."""
        hearing = self._hears().hearing
        assert hearing is not None
        count = len(wave) // TOKEN_SAMPLES
        wave = np.ascontiguousarray(wave[: count * TOKEN_SAMPLES], dtype=np.float32)
        f0 = audio.f0(wave, LATENT_RATE, 0.01)[: 4 * count]  # [4 S]
        return hearing.linear(torch.from_numpy(wave)[None], torch.from_numpy(f0)[None])

    def tokens(self, wave: Wave, rate: int) -> list[int]:
        """Speech [N] -> semantic tokens, 25 a second."""
        return self.encode(torch.from_numpy(audio.resample(wave, rate, RATE))).tolist()

    def prompt_tokens(self, wave: Wave, rate: int) -> list[int]:
        """The tokens of a style reference."""
        return self.tokens(wave, rate)

    def prompt_mel(self, wave: Wave, rate: int) -> Tensor | None:
        """The mel [M, L] that a style reference gives; None: the model goes on from no mel."""
        return None

    @torch.inference_mode()
    def encode(self, wave: Tensor) -> Tensor:
        """Speech [N] at 16 kHz -> semantic tokens [N // 640]; 20 s at a time."""
        codes = []
        for part in wave.split(CHUNK):
            if len(part) >= 640:
                vectors = self.quantiser.project(self.features(part))
                codes.append(self.quantiser.codes(vectors)[0])
        return torch.cat(codes) if codes else torch.zeros(0, dtype=torch.long)

    def features(self, wave: Tensor) -> Tensor:
        """Speech [N] at 16 kHz -> content features [1, T, D] at 50 Hz."""
        return self.content(wave[None])


@dataclass
class FamilyBundle(Bundle):
    """A published model: hears through HuBERT, reads as it was trained to."""

    encoders: Pretrained = field(default_factory=Pretrained)
    kept: dict[str, Tensor] = field(default_factory=dict)  # of its file, for export alone
    published_silence: bool = True  # 0.6 s behind a prompt, as published; False: the 0.3 s meant

    @classmethod
    def build(cls, config: BundleConfig) -> FamilyBundle:
        """Fresh random weights."""
        quantiser = Quantiser(config.content).eval()
        return cls(config, _gpt(config), _generator(config), nn.Identity(), quantiser)

    trims: ClassVar[bool] = False
    parts: ClassVar[tuple[str, ...]] = ("gpt", "generator", "quantiser")

    @property
    def streams(self) -> bool:  # type: ignore[override]
        """Flow matching makes a sentence in one go."""
        return isinstance(self.generator, Generator)

    @property
    def windowed(self) -> bool:  # type: ignore[override]
        """So that a stream comes close to the whole, and is it where all tokens are made first."""
        return isinstance(self.generator, Generator) and self.generator.windowed

    default_precision: ClassVar[Precision] = "fast"
    quick: ClassVar[bool] = False  # float32 is there to be compared with: as published

    @property
    def languages(self) -> tuple[str, ...]:  # type: ignore[override]
        """The original's modes (`text.published.segments`)."""
        return MODES["v1" if self.config.version == "v1" else "v2"]

    def fit(self, state: Mapping[str, Tensor]) -> None:
        """A bundle that was saved after loading has its weight normalisation baked in already. What only an export
        needs is kept; a LoRA's file holds some of it, too.
        """
        tuning = checkpoint.part(state, "tuning")
        self.kept = checkpoint.part(tuning, "kept") or {
            name: tensor
            for name, tensor in checkpoint.part(tuning, "lora").items()
            if name.startswith(KEPT)
        }
        if not any(".parametrizations." in name for name in state):
            fuse_weight_norm(self.generator)

    def beside(self) -> dict[str, dict[str, Tensor]]:
        """What only an export needs."""
        return {"tuning": {f"kept.{name}": t for name, t in self.kept.items()}} if self.kept else {}

    def described(self) -> BundleConfig:
        """A LoRA that was loaded has become one with its base."""
        sound = dict(self.config.origin.get("s2", {}))
        if sound.pop("lora_rank", None) is None:
            return self.config
        sound["tag"] = WHOLE[self.config.version]
        return self.config.model_copy(update={"origin": {**self.config.origin, "s2": sound}})

    def ready(self, precision: Precision = "float32") -> None:
        """Bake weight normalisation into the weights; where speed is wanted the decoder in bf16, if the
        processor multiplies that, and with its channels side by side.
        """
        super().ready(precision)
        if precision != "float32":
            record_step(self.gpt)
        self.encoders.packed = precision != "float32"
        fuse_weight_norm(self.generator)
        sound = self.generator.sound
        if precision != "float32" and isinstance(sound, HifiganDecoder):
            sound.pack(best_kind())

    @property
    def silent_text(self) -> list[int]:
        """A full stop: the published models have no better name for silence."""
        return [SYMBOL_TO_ID["."]]

    def text_pipeline(self, lexicon: Path | None = None) -> TextPipeline:
        """The published front end."""
        version = "v1" if self.config.version == "v1" else "v2"
        g2pw = self.encoders.folder / G2PW if self.encoders.has(G2PW) else None
        return PublishedPipeline(lexicon, version=version, polyphones=g2pw)

    def context(self, phonemes: Phonemes) -> Tensor | None:
        """RoBERTa's features for Mandarin phonemes, zeros for others (and without RoBERTa).

        As published: each Mandarin stretch is read by itself, as normalised, one vector a character,
        repeated for its phonemes.
        """
        features = torch.zeros(len(phonemes), self.config.gpt.context_width)
        segments = phonemes.segments if isinstance(phonemes, PublishedPhonemes) else ()
        mandarin = [part for part in segments if part.language == "zh" and part.normalised]
        if not mandarin or not self.encoders.has(ROBERTA):
            return features
        for part in mandarin:
            places = [(i, i + 1) for i in range(len(part.normalised))]
            vectors = self.encoders.roberta(part.normalised, places)  # [characters, E]
            counts = torch.tensor(part.word2ph)
            features[part.first : part.last] = vectors.repeat_interleave(counts, dim=0)
        return features

    @torch.inference_mode()
    def speaker_vector(self, wave: Wave, rate: int) -> Tensor:
        """Reference [N] of 3-10 s -> speaker vector [G], with verification where wanted."""
        check_length(wave, rate)
        reference = torch.from_numpy(reference_wave(wave, rate))[None]  # [1, N] at 32 kHz
        embedding = None
        if self.generator.fusion is not None:
            heard = sinc_resample(reference, self.generator.reference_rate, RATE)
            embedding = self.encoders.verification.embed(heard)
        return self.generator.speaker_vector(reference, embedding)[0].float().clone()

    def prompt_tokens(self, wave: Wave, rate: int) -> list[int]:
        """As the published models prepare it: 3-10 s, silence appended."""
        prompt = prompt_wave(wave, rate, compat=self.published_silence)
        return self.encode(torch.from_numpy(prompt)).tolist()

    def prompt_mel(self, wave: Wave, rate: int) -> Tensor | None:
        """Scaled mel of the reference, for the flow-matching models."""
        if isinstance(self.generator, Generator):
            return None
        mel_rate = self.generator.config.mel_rate
        loud = torch.from_numpy(reference_wave(wave, rate))[None]  # [1, N] at 32 kHz
        heard = sinc_resample(loud, self.generator.reference_rate, mel_rate)
        return scaled(vocoder_mel(heard, mel_rate))[0]

    def features(self, wave: Tensor) -> Tensor:
        """HuBERT's last layer."""
        return self.encoders.features(wave)


@cache
def _builtin() -> Bundle:
    if DEFAULT not in builtin_models():
        raise FileNotFoundError(
            "this installation has no built-in model; name a model's folder "
            "(`voxray convert` and `voxray train bundle` make some)"
        )
    return Bundle.load(home(DEFAULT))


def _phones(folder: Path, config: BundleConfig) -> PhoneTable | None:
    """What a model's codes sound like, from its folder or its base's, of models with an encoder of their own."""
    if not isinstance(config.content, ContentConfig):
        return None
    place = base_of(config) if config.base else folder
    return PhoneTable.load(place, config.content.codebook_size, config.content.text_symbols)


def _gpt(config: BundleConfig) -> GPT:
    if isinstance(config.gpt, GPTConfig):
        return GPT(config.gpt).eval()
    return cast(GPT, Student(config.gpt).eval())


def _generator(config: BundleConfig) -> Generator | MatchingGenerator:
    if isinstance(config.generator, MatchingGeneratorConfig):
        return MatchingGenerator(config.generator, training_parts=False).eval()
    return Generator(config.generator, training_parts=False).eval()
