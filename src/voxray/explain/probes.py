"""What can be read out of hidden states and tokens by a straight line, against chance.

In: vectors with labels and groups (speakers, sentences). Out: `Probe`s (accuracy or AUROC on held-out
groups, with the majority or shuffled floor beside it); `bilingual`: does a sentence meet its translation
in the hidden states of a layer (retrieval, MRR) more often than shuffled pairs; `role_binding`: does the
acting word attend to its object more than to a lure. A probe that finds nothing is a result. All of it is
correlational: that something can be read does not mean that the model uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..bundle import Bundle
from ..sites import record
from ..text import Phonemes
from .statistics import Interval, auroc, bootstrap, chance_p

FOLDS = 5
DECAY = 1e-2

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Probe:
    """A read-out's score on held-out groups, its floor, and over how many items and groups."""

    score: float
    floor: float
    measure: str  # "AUROC" or "accuracy"
    items: int
    groups: int
    claim: str = "correlational"


def linear_probe(
    vectors: Floats, labels: Sequence[object], groups: Sequence[object], *, seed: int = 0
) -> Probe:
    """Logistic regression, trained and tested on different groups (five folds).

    Two classes: AUROC, floor 0.5. More: accuracy, floor the commonest class.
    """
    data = np.asarray(vectors, np.float32)
    names, classes = np.unique(np.asarray(labels, str), return_inverse=True)
    places, owner = np.unique(np.asarray(groups, str), return_inverse=True)
    if len(names) < 2:
        raise ValueError("a probe needs two classes or more")
    if len(places) < 2:
        raise ValueError("a probe is tested on other groups than it learns from: give two or more")
    fold = np.random.default_rng(seed).permutation(len(places)) % min(FOLDS, len(places))
    scores = np.full((len(data), len(names)), np.nan)
    for number in range(fold.max() + 1):
        test = fold[owner] == number
        if len(np.unique(classes[~test])) < 2 or not test.any():
            continue
        scores[test] = _fit(data[~test], classes[~test], len(names))(data[test])
    kept = np.isfinite(scores[:, 0])
    scores, truth = scores[kept], classes[kept]
    if len(names) == 2:
        score, low, measure = auroc(scores[:, 1] - scores[:, 0], truth == 1), 0.5, "AUROC"
    else:
        score, measure = float((scores.argmax(1) == truth).mean()), "accuracy"
        low = float(np.bincount(truth).max() / len(truth))
    return Probe(score, low, measure, int(kept.sum()), len(places))


def _fit(data: Floats, classes: NDArray, count: int) -> Callable[[Floats], Floats]:
    """Multinomial regression with weight decay; returns a scorer [n, C] -> [n, classes]."""
    centre, spread = data.mean(0), data.std(0) + 1e-6
    x, y = torch.from_numpy((data - centre) / spread), torch.from_numpy(classes)
    weight = torch.zeros(x.shape[1], count, requires_grad=True)
    bias = torch.zeros(count, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=30, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(x @ weight + bias, y)
        loss = loss + DECAY * weight.square().sum() / 2
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[arg-type]
    w, b = weight.detach().numpy(), bias.detach().numpy()
    return lambda other: (other - centre) / spread @ w + b


def histograms(
    codes: NDArray[np.int64], owner: NDArray[np.int64], size: int
) -> tuple[Floats, NDArray[np.int64]]:
    """How often each code occurs in each utterance [U, K] (square roots), and the utterances [U]."""
    names, rows = np.unique(owner, return_inverse=True)
    table = np.zeros((len(names), size), np.float32)
    np.add.at(table, (rows, codes), 1.0)
    return np.sqrt(table / table.sum(1, keepdims=True)), names


# --- the cross-language view -------------------------------------------------------------------


@torch.inference_mode()
def text_states(models: Bundle, phonemes: Phonemes) -> Floats:
    """Hidden states of the phonemes after the embedding and each layer [L + 1, P, D]."""
    gpt = models.gpt
    layers = [f"blocks.{layer}.resid" for layer in range(len(gpt.blocks))]
    context = models.context(phonemes)
    with record(gpt, ["embed", *layers]) as seen:
        ids = torch.tensor([phonemes.ids])
        gpt.prefill(
            ids, torch.tensor([len(phonemes)]), None, None if context is None else context[None]
        )
    count = len(phonemes)
    return np.stack([seen[name][0][0, :count].float().numpy() for name in ("embed", *layers)])


@dataclass(frozen=True)
class Bilingual:
    """Retrieval of translations by layer: MRR with interval, and what shuffled pairs give."""

    layers: tuple[str, ...]
    mrr: tuple[Interval, ...]
    shuffled: tuple[float, ...]
    p: tuple[float, ...]  # share of shufflings at least as good
    ranks: tuple[Floats, ...]  # 1 / rank of each pair
    pairs: int
    claim: str = "correlational"

    @property
    def best(self) -> int:
        """The layer with the highest MRR."""
        return int(np.argmax([figure.value for figure in self.mrr]))

    @property
    def found(self) -> bool:
        """Whether any layer beats chance, corrected for looking at all of them (p < 0.05 / layers)."""
        return min(self.p) < 0.05 / len(self.p)


def bilingual(models: Bundle, pairs: Sequence[tuple[str, str]], *, draws: int = 500) -> Bilingual:
    """Do sentences and their translations meet? Mean states of each layer, centred by language."""
    front = models.text_pipeline()
    sides = [
        np.stack([text_states(models, front(text)).mean(1) for text in texts])
        for texts in zip(*pairs, strict=True)
    ]  # 2 x [N, L + 1, D]
    layers = ("embed", *[f"layer {i}" for i in range(sides[0].shape[1] - 1)])
    return retrieval(sides[0], sides[1], layers, draws=draws)


def retrieval(
    one: Floats, other: Floats, layers: Sequence[str], *, draws: int = 500, seed: int = 0
) -> Bilingual:
    """MRR of finding the partner of row i of `one` among all rows of `other` [N, L, D], by layer."""
    if len(one) < 5 or len(one) != len(other):
        raise ValueError(f"retrieval needs five pairs or more; got {len(one)} and {len(other)}")
    dice = np.random.default_rng(seed)
    orders = [dice.permutation(len(one)) for _ in range(draws)]
    figures, floors, chances, ranks = [], [], [], []
    for layer in range(one.shape[1]):
        likeness = _cosines(one[:, layer], other[:, layer])
        inverse = reciprocal_ranks(likeness)
        own = np.diag(inverse)
        by_chance = [inverse[np.arange(len(one)), order].mean() for order in orders]
        ranks.append(own)
        figures.append(bootstrap(own, draws=500))
        floors.append(float(np.mean(by_chance)))
        chances.append(chance_p(float(own.mean()), by_chance))
    return Bilingual(
        tuple(layers), tuple(figures), tuple(floors), tuple(chances), tuple(ranks), len(one)
    )


def _cosines(one: Floats, other: Floats) -> Floats:
    one, other = one - one.mean(0), other - other.mean(0)
    one = one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-9)
    return one @ (other / np.maximum(np.linalg.norm(other, axis=1, keepdims=True), 1e-9)).T


def reciprocal_ranks(likeness: Floats) -> Floats:
    """1 / rank that each column would have in each row's list [N, N]."""
    order = (-likeness).argsort(1, kind="stable").argsort(1, kind="stable")
    return 1.0 / (1.0 + order)


def word_likeness(models: Bundle, one: str, other: str) -> Floats:
    """Cosine between two words' or sentences' mean states, layer by layer [L + 1]; not centred."""
    front = models.text_pipeline()
    a, b = (text_states(models, front(text)).mean(1) for text in (one, other))
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1) + 1e-9)


# --- who does what to whom ---------------------------------------------------------------------


@dataclass(frozen=True)
class Role:
    """A sentence, the word that acts, its object, and a word that could be taken for it."""

    text: str
    verb: str
    patient: str
    lure: str


ROLES = (
    Role("他把文件打印了。", "打印", "文件", "他"),
    Role("她把窗户关上了。", "关上", "窗户", "她"),
    Role("老师把书放在桌子上。", "放", "书", "桌子"),
    Role("弟弟把杯子打破了。", "打破", "杯子", "弟弟"),
    Role("我把钥匙忘在家里。", "忘", "钥匙", "家里"),
    Role("妈妈把衣服洗干净了。", "洗", "衣服", "妈妈"),
    Role("医生把药给了病人。", "给", "药", "病人"),
    Role("孩子把蛋糕吃完了。", "吃", "蛋糕", "孩子"),
    Role("工人把箱子搬走了。", "搬", "箱子", "工人"),
    Role("经理把合同签了。", "签", "合同", "经理"),
    Role("The teacher gave the book to the student.", "gave", "book", "student"),
    Role("The dog that chased the cat broke the vase.", "broke", "vase", "cat"),
    Role("My sister sent a letter to the doctor.", "sent", "letter", "doctor"),
    Role("The boy near the window dropped the cup.", "dropped", "cup", "window"),
    Role("The man with the hat opened the door.", "opened", "door", "hat"),
    Role("The farmer behind the house fed the horse.", "fed", "horse", "house"),
    Role("A woman in the shop bought the bread.", "bought", "bread", "shop"),
    Role("The girl from the village painted the boat.", "painted", "boat", "village"),
    Role("The driver of the bus closed the gate.", "closed", "gate", "bus"),
    Role("The cook in the kitchen burned the soup.", "burned", "soup", "kitchen"),
    # the lure stands nearer to the verb than the object does
    Role("杯子被弟弟打破了。", "打破", "杯子", "弟弟"),
    Role("钱包被小偷拿走了。", "拿走", "钱包", "小偷"),
    Role("蛋糕被孩子吃完了。", "吃", "蛋糕", "孩子"),
    Role("窗户被大风吹开了。", "吹开", "窗户", "大风"),
    Role("衣服被妈妈洗干净了。", "洗", "衣服", "妈妈"),
    Role("合同被经理签了。", "签", "合同", "经理"),
    Role("箱子被工人搬走了。", "搬", "箱子", "工人"),
    Role("自行车被同学借走了。", "借走", "自行车", "同学"),
    Role("信被邮递员送到了。", "送", "信", "邮递员"),
    Role("门被警察打开了。", "打开", "门", "警察"),
    Role("作业被老师改完了。", "改", "作业", "老师"),
    Role("房间被姐姐收拾好了。", "收拾", "房间", "姐姐"),
    Role("树被司机撞倒了。", "撞", "树", "司机"),
    Role("苹果被爷爷买走了。", "买", "苹果", "爷爷"),
    Role("消息被记者发出去了。", "发", "消息", "记者"),
    Role("The letter that the doctor saw was sent today.", "sent", "letter", "doctor"),
    Role("The bread beside the lamp was burned.", "burned", "bread", "lamp"),
    Role("The window behind the chair was broken.", "broken", "window", "chair"),
    Role("The song about the river was recorded here.", "recorded", "song", "river"),
    Role("The gift for the teacher was wrapped.", "wrapped", "gift", "teacher"),
    Role("The road to the village was closed.", "closed", "road", "village"),
    Role("The picture of the mountain was sold.", "sold", "picture", "mountain"),
    Role("The key under the carpet was lost.", "lost", "key", "carpet"),
    Role("The soup from the kitchen was spilled.", "spilled", "soup", "kitchen"),
    Role("The fence around the garden was painted.", "painted", "fence", "garden"),
    Role("The story about the dragon was printed.", "printed", "story", "dragon"),
    Role("The ticket for the concert was stolen.", "stolen", "ticket", "concert"),
    Role("The bridge near the station was repaired.", "repaired", "bridge", "station"),
    Role("The shirt on the bed was ironed.", "ironed", "shirt", "bed"),
    Role("The box beside the door was opened.", "opened", "box", "door"),
)


@dataclass(frozen=True)
class RoleBinding:
    """How often the verb attends more to its object than to the lure, a phoneme each.

    `best_head` is the best of all heads on one half of the sentences, `best_held_out` what it does on the other.
    """

    mean: Interval  # of all heads together: chance is 0.5
    best_head: tuple[int, int]
    best_held_out: float
    best: Interval  # the best head of each half, measured on the other half: all sentences
    best_p: float
    sentences: int
    claim: str = "correlational"

    @property
    def found(self) -> bool:
        """Whether the head chosen on one half holds on the other (p < 0.05)."""
        return self.best_p < 0.05


def role_binding(
    models: Bundle, roles: Sequence[Role] = ROLES, *, draws: int = 2000
) -> RoleBinding:
    """Does attention bind a verb to its object? Against chance, the head chosen on other sentences."""
    wins = np.stack([_wins(models, role) for role in roles])  # [N, L, H], 1: the object got more
    if len(wins) < 6:
        raise ValueError(f"role binding needs six sentences or more; there are {len(wins)}")
    learn, test = wins[::2], wins[1::2]
    best = np.unravel_index(int(learn.mean(0).argmax()), wins.shape[1:])
    held = float(test[:, best[0], best[1]].mean())
    back = np.unravel_index(int(test.mean(0).argmax()), wins.shape[1:])
    both = np.concatenate([test[:, best[0], best[1]], learn[:, back[0], back[1]]])
    dice = np.random.default_rng(0)
    by_chance = dice.integers(0, 2, (draws, len(test))).mean(1)
    return RoleBinding(
        mean=bootstrap(wins.mean((1, 2)), draws=500),
        best_head=(int(best[0]), int(best[1])),
        best_held_out=held,
        best=bootstrap(both, draws=2000),
        best_p=chance_p(held, by_chance),
        sentences=len(wins),
    )


@torch.inference_mode()
def _wins(models: Bundle, role: Role) -> Floats:
    phonemes = models.text_pipeline()(role.text)
    verb, patient, lure = (
        phoneme_places(phonemes, word) for word in (role.verb, role.patient, role.lure)
    )
    names = [f"blocks.{layer}.attn.pattern" for layer in range(len(models.gpt.blocks))]
    context = models.context(phonemes)
    with record(models.gpt, names) as seen:
        models.gpt.prefill(
            torch.tensor([phonemes.ids]),
            torch.tensor([len(phonemes)]),
            None,
            None if context is None else context[None],
        )
    pattern = torch.stack([seen[name][0][0].float() for name in names])  # [L, H, P', P']
    from_verb = pattern[:, :, verb].mean(2)  # [L, H, P']
    more = from_verb[:, :, patient].mean(2) > from_verb[:, :, lure].mean(2)
    return more.float().numpy()


def phoneme_places(phonemes: Phonemes, word: str) -> list[int]:
    """Places of the phonemes that a word of the text is said with; an unknown word is an error."""
    begin = phonemes.text.lower().find(word.lower())
    if begin < 0:
        raise ValueError(f"{word!r} is not in the text {phonemes.text!r}")
    end = begin + len(word)
    found = [
        place
        for place, item in enumerate(phonemes.items)
        if item.word >= 0 and item.start < end and item.end > begin
    ]
    if not found:
        raise ValueError(f"{word!r} is not said in {phonemes.text!r}")
    return found
