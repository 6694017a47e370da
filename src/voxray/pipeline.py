"""The chain: text + voice -> phonemes -> semantic tokens -> audio, with every intermediate kept.

`Pipeline.stream` yields audio as it is made (the first chunk after some twenty tokens),
`Pipeline.synthesise` returns the whole `Synthesis`; both roll the same dice for a seed. What is not heard while it is
made may be said several times, and the clearest take kept (`takes.py`): the first one is what the stream says.
`Pipeline.convert` speaks the tokens of a recording in another voice. Nothing here writes files or
is meant for users: `voxray.engine` is the gate.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from threading import RLock

import numpy as np
import torch
from numpy.typing import NDArray

from .assembly import Assembly
from .bundle import Bundle
from .fitting import fitting, mel_prompt
from .job import Job
from .joining import PieceDecoder, Wave
from .options import SynthesisOptions
from .sampling import check_seed, derive
from .sharing import SharedLock
from .synthesis import Synthesis
from .text import Phonemes, TextPipeline
from .token_pool import TokenPool
from .voice import Voice

CONVERT_CHUNK = 500  # tokens (20 s) that voice conversion decodes at once


class AudioStream:
    """Iterate to get audio (float32 chunks); `synthesis` is what has been made so far."""

    def __init__(self, chunks: Generator[Wave, None, None], job: Job) -> None:
        self._chunks = chunks
        self._job = job

    def __iter__(self) -> Iterator[Wave]:
        return self

    def __next__(self) -> Wave:
        return next(self._chunks)

    def close(self) -> None:
        """End early; others no longer make its tokens."""
        self._chunks.close()

    @property
    def sample_rate(self) -> int:
        """Of the chunks."""
        return self._job.made.rate

    @property
    def seed(self) -> int:
        """The seed in use, drawn if none was given."""
        return self._job.seed

    @property
    def progress(self) -> float:
        """How much of the text has been spoken, 0 .. 1."""
        return self._job.progress

    @property
    def synthesis(self) -> Synthesis:
        """All that has been made so far (the whole, once the iteration is over)."""
        return self._job.synthesis()


class Pipeline:
    """Models and text front end together.

    One at a time steps the GPT (`lock`); those who only sound tokens may do so side by side, and who
    attaches something to the generator is alone (`sounding`).
    """

    def __init__(self, models: Bundle, text: TextPipeline) -> None:
        self.models = models
        self.text = text
        self.lock = RLock()
        self.sounding = SharedLock()
        self.pool = TokenPool(models.gpt)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else uses the models: for who attaches to them across whole requests."""
        with self.lock, self.sounding.alone():
            yield

    def stream(
        self, text: str, voice: Voice, options: SynthesisOptions, *, shared: bool = False
    ) -> AudioStream:
        """Audio as it is made.

        `shared`: the tokens are made in one pass with those of all other such streams, a step at
        each turn; a turn without sound gives an empty chunk. The audio is the same.
        """
        job = Job(self, text, voice, options, whole=False)
        job.pool = self.pool if shared else None
        return AudioStream(job.run(), job)

    def synthesise(self, text: str, voice: Voice, options: SynthesisOptions) -> Synthesis:
        """Speech and every intermediate; each piece is decoded at once."""
        job = Job(self, text, voice, options, whole=True)
        for _ in job.run():
            pass
        return job.synthesis()

    def convert(
        self, wave: NDArray[np.float32], rate: int, voice: Voice, options: SynthesisOptions
    ) -> Synthesis:
        """What a recording [N] says, in another voice. Text is not needed."""
        fitting(self.models, voice)
        seeded = options.seeded()
        seed = check_seed(seeded.seed)
        made = Assembly(self.models.generator.config.sample_rate)
        with torch.inference_mode():
            began = time.perf_counter()
            with self.sounding.alone():
                tokens = self.models.tokens(wave, rate)
            made.spend("tokens", began)
            sound = PieceDecoder(
                self.models, self.models.silent_text, voice.speaker,
                derive(seed, "sound"), options.speed, prompt=mel_prompt(voice), memory=voice.memory,
            )  # fmt: skip
            for begin in range(0, len(tokens), CONVERT_CHUNK):
                began = time.perf_counter()
                end = min(begin + CONVERT_CHUNK, len(tokens))
                with self.sounding.together():
                    made.add(sound.decode(tokens, begin, end, last=end == len(tokens)))
                made.spend("audio", began)
        made.timings["total"] = time.perf_counter() - made.started
        step = sound.token_samples / made.rate
        return Synthesis(
            audio=np.concatenate(made.audio),
            sample_rate=made.rate,
            text="",
            phonemes=Phonemes("", "", (), ()),
            tokens=np.array(tokens, np.int64),
            alignment=np.zeros(0, np.int64),
            token_times=np.asarray(np.arange(len(tokens)) * step, np.float64),
            latents=np.concatenate(sound.latents, axis=1),
            seed=seed,
            timings=made.timings,
            fingerprint=self.text.fingerprint,
            model=self.models.name,
            model_hash=self.models.weights_hash,
            voice=voice.name,
        )
