"""What a voice is to say beyond its clips: tuned on a minute alone, a generator forgets the rest.

A minute holds a dozen sentences, and their tokens are those of recordings, not those that a GPT draws. So before it is
tuned the model says sentences of our own in the voice, each several times, and the clearest is kept. While it is tuned
its generator says stretches of them anew: they have to sound to the content encoder as they did (learning without
forgetting, Li and Hoiem 2016, eq. 2: the old model's outputs are targets), and to the speaker encoder like the speaker
(speaker consistency, Casanova et al. 2022, YourTTS, eq. 1). In: a bundle and a store of one voice; out: clips, batches, losses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voxray.batching import Order, takes_of_many
from voxray.bundle import Bundle
from voxray.models.generator import Generator
from voxray.models.posterior_mel import PITCH_LATENTS, pitch_latents
from voxray.options import SynthesisOptions
from voxray.pipeline import Pipeline
from voxray.takes import can_listen
from voxray.voice import Voice

from .feed import half
from .listening import Listener, likeness_loss, words_loss
from .pitch import f0_track
from .prior import predict
from .segments import Size, memory_of
from .speakers import SpeakerTeacher
from .store import RATE, TOKEN, Store

SENTENCES = {
    "en": (
        "The baker pulled two loaves from the oven and set them by the window.",
        "Please write your name and address at the bottom of the page.",
        "We could hear thunder far away, though the sky above us was blue.",
        "Which of these jackets belongs to your younger cousin?",
        "They measured the room twice and still bought the wrong carpet.",
        "A grey cat jumped over the fence and vanished behind the shed.",
        "If the weather is good on Thursday, we should visit the old harbour.",
        "My teacher always said that mistakes are part of learning.",
        "The judge asked both sides to choose their next words with care.",
        "Fresh fish, ripe plums and a pound of cheese, that is all I need.",
        "He fixed the engine with a piece of wire and a lot of patience.",
        "Do you think anybody noticed that the picture was upside down?",
        "Every spring the river rises and floods the lower garden.",
        "She laughed so hard that she spilled orange juice on the rug.",
        "The train to the airport leaves from platform number four.",
        "Nothing in this drawer has been touched for almost twenty years.",
        "You should have called me before you drove all that way.",
        "Young birds learn to sing by listening to their fathers.",
        "The shop on the corner sells thread, buttons and old watches.",
        "I would rather stay at home and finish reading this chapter.",
    ),
    "zh": (
        "请把这封信送到二楼的办公室。",
        "外面下着小雨，可是孩子们还在操场上踢球。",
        "你知道去火车站坐哪一路公共汽车吗？",
        "他用了三年时间才学会修理这种机器。",
        "奶奶做的红烧鱼比饭店里的还好吃。",
        "我觉得这件蓝色的衬衫更适合你。",
        "春天来了，山上的桃花都开了。",
        "会议改到下星期四上午十点举行。",
        "别着急，我们还有半个小时才出发。",
        "这本书讲的是一个渔夫和大海的故事。",
        "窗户上落满了灰尘，应该擦一擦了。",
        "如果明天不刮风，我们就去爬长城。",
        "医生说他需要多喝水，好好休息。",
        "昨天晚上的月亮又圆又亮。",
        "那家商店卖茶叶、瓷器和丝绸。",
        "老师让我们每个人写一篇短文。",
        "河边有几只白色的鸟在找东西吃。",
        "你能不能再说一遍？我刚才没听清楚。",
        "爸爸每天早上六点半起床跑步。",
        "冰箱里还有两个苹果和一盒牛奶。",
    ),
}
TAKES = 3
SIDE_BY_SIDE = 24  # rows of a pass of the GPT


@dataclass(frozen=True)
class Rehearsed:
    """A sentence as the model said it before: phonemes [P], tokens [S], which of the phonemes each says [S], wave
    [960 S] at 24 kHz, F0 [4 S] in Hz.
    """

    ids: tuple[int, ...]
    tokens: NDArray[np.int64]
    path: NDArray[np.int64]
    wave: NDArray[np.float32]
    f0: NDArray[np.float32]


def rehearse(bundle: Bundle, store: Store, wave: NDArray[np.float32], seed: int) -> list[Rehearsed]:
    """What a bundle says in the voice of a wave [N] at 24 kHz, in the language that most clips of the store speak; nothing where it
    cannot hear itself.
    """
    if not can_listen(bundle):
        return []
    language = Counter(entry.language for entry in store.entries).most_common(1)[0][0]
    voice = Voice.heard("rehearsal", wave, RATE, bundle)
    orders = [
        Order(
            text,
            voice,
            SynthesisOptions(language=language, seed=seed + n, takes=TAKES, style=False),
        )
        for n, text in enumerate(SENTENCES.get(language, ()))
    ]
    pipeline = Pipeline(bundle, bundle.text_pipeline())
    clips = []
    for piece, takes in takes_of_many(pipeline, orders, SIDE_BY_SIDE):
        best = max(takes, key=lambda take: take.rank)
        if not (best.whole and best.decoder.tokens):
            continue
        tokens = np.array(best.decoder.tokens)
        sound = np.zeros(len(tokens) * TOKEN, np.float32)
        sound[: len(best.wave)] = best.wave[: len(sound)]
        clips.append(
            Rehearsed(piece.ids, tokens, np.array(best.decoder.path), sound, f0_track(sound))
        )
    return clips


def put_in(
    batch: list[Tensor], clips: Sequence[Rehearsed], size: Size, rng: np.random.Generator
) -> list[Tensor]:
    """A batch of the voice's (`Aligned.aligned`) with stretches of what was rehearsed in place of its own; references and what
    is known of the speaker stay. `clips` have `segment_tokens` tokens or more.
    """
    rows, count = len(batch[1]), size.segment_tokens
    batch = [x.clone() for x in batch]
    wave, tokens, ids, lengths, _, f0, band, pointer, _, said = batch[:10]
    for row in range(rows):
        clip = clips[int(rng.integers(len(clips)))]
        at = int(rng.integers(0, len(clip.tokens) - count + 1))
        path = clip.path[at : at + count]
        first, last = int(path.min()), int(path.max())
        text = clip.ids[first : last + 1][: size.max_phones]
        wave[row] = torch.from_numpy(clip.wave[at * TOKEN : (at + count) * TOKEN])
        tokens[row] = said[row] = torch.from_numpy(clip.tokens[at : at + count])
        ids[row] = 0
        ids[row, : len(text)] = torch.tensor(text)
        lengths[row] = len(text)
        f0[row] = torch.from_numpy(clip.f0[at * 4 : (at + count) * 4])
        places = torch.from_numpy((path - first).repeat(2))
        pointer[row] = torch.where(places < len(text), places, torch.full_like(places, -1))
    band.fill_(1.0)
    return batch


def rehearsal_losses(
    model: Generator,
    batch: list[Tensor],
    step: int,
    listener: Listener | None,
    teacher: SpeakerTeacher | None,
) -> dict[str, Tensor]:
    """How far the words are from what they were, and the sound from the speaker; each where somebody listens."""
    wave, f0 = batch[0], batch[5]
    dice = torch.Generator().manual_seed(step)
    out, speaker, _ = predict(model, batch, dice)
    with half(wave.device):
        z = model.flow.inverse(out.mean, out.mask, speaker)
        fine = model.detailed(z, model.features(batch[1]), model.heard(memory_of(batch)))
        pitch = pitch_latents(f0).transpose(1, 2)
        fine = torch.cat([pitch, fine[:, PITCH_LATENTS:]], dim=1)
        noise = torch.randn(wave.shape, generator=dice)
        made = model.decoder(fine, speaker[..., 0], noise, f0).audio
    parts = {}
    if listener is not None:
        parts["kept"] = words_loss(listener, made, wave)
    if teacher is not None:
        parts["alike"] = likeness_loss(teacher, made, batch[8])
    return parts
