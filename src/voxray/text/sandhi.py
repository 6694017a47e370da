"""Tone changes of Mandarin in context: 不, 一, the neutral tone, third tones in a row.

In: the tagged words of a clause with one citation syllable (tone digit last) per character. Words
that are spoken as one foot are joined first (不 and 一 with what follows, reduplications, short
third-tone words), then each is changed by itself. Citation tones come from dictionaries; all that
depends on the neighbourhood is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from .segment import halves

_NUMERALS = frozenset("零〇一二三四五六七八九十百千万亿点幺两")
_FINAL_PARTICLES = frozenset("吧呢啊呐噻嘛吖嗨哦哒滴哩哟喽啰耶喔诶吗呀啦哇")
_BEFORE_GE = _NUMERALS | frozenset("几有两半多各整每做是")
_DIRECTIONS = frozenset("上下进出回过起开")


@dataclass
class Foot:
    """A word, or words spoken as one; `syllables` are changed in place."""

    text: str
    tag: str
    syllables: list[str]
    sizes: list[int]

    def tone(self, index: int) -> str:
        """Tone digit of a character."""
        return self.syllables[index][-1]

    def set_tone(self, index: int, tone: str) -> None:
        """Change the tone of a character."""
        self.syllables[index] = self.syllables[index][:-1] + tone

    def all_third(self) -> bool:
        """Every syllable has the third tone."""
        return all(s[-1] == "3" for s in self.syllables)

    def absorb(self, other: Foot) -> None:
        """Join the following foot."""
        self.text += other.text
        self.syllables += other.syllables
        self.sizes += other.sizes


@cache
def neutral_words() -> frozenset[str]:
    """Words whose last syllable is unstressed in standard speech."""
    text = files(__package__).joinpath("data", "neutral_tone.txt").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return frozenset(word for line in lines for word in line.split())


def apply(feet: list[Foot]) -> list[Foot]:
    """Join what is spoken as one and change its tones; the syllables stay in order."""
    for join in (_join_bu, _join_yi, _join_repeats, _join_third_words, _join_third_edges, _join_er):
        feet = join(feet)
    for foot in feet:
        _bu(foot)
        _yi(foot)
        _neutral(foot)
        _third(foot)
    return feet


def _merge(feet: list[Foot], follows: list[bool]) -> list[Foot]:
    merged: list[Foot] = []
    for foot, joins in zip(feet, follows, strict=True):
        if joins and merged:
            merged[-1].absorb(foot)
        else:
            merged.append(foot)
    return merged


def _join_bu(feet: list[Foot]) -> list[Foot]:
    joined: list[Foot] = []
    for foot in feet:
        if joined and joined[-1].text == "不":
            joined[-1].absorb(foot)
            joined[-1].tag = foot.tag
        else:
            joined.append(foot)
    return joined


def _join_yi(feet: list[Foot]) -> list[Foot]:
    joined: list[Foot] = []
    i = 0
    while i < len(feet):
        foot = feet[i]
        around = 0 < i < len(feet) - 1 and joined and joined[-1].text == feet[i - 1].text
        if foot.text == "一" and around and feet[i - 1].text == feet[i + 1].text:
            joined[-1].absorb(foot)
            joined[-1].absorb(feet[i + 1])
            i += 1
        elif joined and joined[-1].text == "一":
            joined[-1].absorb(foot)
        else:
            joined.append(foot)
        i += 1
    return joined


def _join_repeats(feet: list[Foot]) -> list[Foot]:
    follows = [i > 0 and foot.text == feet[i - 1].text for i, foot in enumerate(feet)]
    return _merge(feet, follows)


def _repeats(text: str) -> bool:
    return len(text) == 2 and text[0] == text[1]


def _join_third(feet: list[Foot], meets: list[bool]) -> list[Foot]:
    follows = [False] * len(feet)
    for i in range(1, len(feet)):
        before, foot = feet[i - 1], feet[i]
        short = len(before.text) + len(foot.text) <= 3
        follows[i] = meets[i] and not follows[i - 1] and not _repeats(before.text) and short
    return _merge(feet, follows)


def _join_third_words(feet: list[Foot]) -> list[Foot]:
    pairs = [i > 0 and feet[i - 1].all_third() and f.all_third() for i, f in enumerate(feet)]
    return _join_third(feet, pairs)


def _join_third_edges(feet: list[Foot]) -> list[Foot]:
    edges = [i > 0 and feet[i - 1].tone(-1) == "3" and f.tone(0) == "3" for i, f in enumerate(feet)]
    return _join_third(feet, edges)


def _join_er(feet: list[Foot]) -> list[Foot]:
    return _merge(feet, [i > 0 and foot.text == "儿" for i, foot in enumerate(feet)])


def _bu(foot: Foot) -> None:
    text = foot.text
    if len(text) == 3 and text[1] == "不":
        foot.set_tone(1, "5")
        return
    for i, char in enumerate(text[:-1]):
        if char == "不" and foot.tone(i + 1) == "4":
            foot.set_tone(i, "2")


def _yi(foot: Foot) -> None:
    text = foot.text
    if "一" not in text or all(char in _NUMERALS for char in text):
        return
    if len(text) == 3 and text[1] == "一" and text[0] == text[2]:
        foot.set_tone(1, "5")
    elif not text.startswith("第一"):
        for i, char in enumerate(text[:-1]):
            if char == "一":
                foot.set_tone(i, "2" if foot.tone(i + 1) in "45" else "4")


def _neutral(foot: Foot) -> None:
    text, tag, size = foot.text, foot.tag, len(foot.text)
    for i in range(1, size):
        repeated = text[i] == text[i - 1] and text[i] not in _NUMERALS
        if repeated and tag[0] in "nva" and text not in _FULL_REPEATS:
            foot.set_tone(i, "5")
    measure = text.find("个")
    if text[-1] in _FINAL_PARTICLES or text[-1] in "的地得":
        foot.set_tone(-1, "5")
    elif size == 1 and text in "了着过" and tag in ("ul", "uz", "ug"):
        foot.set_tone(0, "5")
    elif size > 1 and text[-1] in "们子" and tag[0] in "rn" and text not in FULL_ZI:
        foot.set_tone(-1, "5")
    elif size > 1 and text[-1] in "上下" and tag in ("s", "l", "f"):
        foot.set_tone(-1, "5")
    elif size > 1 and text[-1] in "来去" and text[-2] in _DIRECTIONS:
        foot.set_tone(-1, "5")
    elif text == "个" or (measure > 0 and text[measure - 1] in _BEFORE_GE):
        foot.set_tone(measure, "5")
    _neutral_parts(foot)


def _neutral_parts(foot: Foot) -> None:
    listed, text = neutral_words(), foot.text
    if text in listed or text[-2:] in listed:
        foot.set_tone(-1, "5")
    if len(text) > 1:
        first = halves(text)[0]
        if first in listed or first[-2:] in listed:
            foot.set_tone(len(first) - 1, "5")


def _third(foot: Foot) -> None:
    size = len(foot.text)
    if size == 2 and foot.all_third():
        foot.set_tone(0, "2")
    elif size == 3:
        _third_of_three(foot)
    elif size == 4:
        for at in (0, 2):
            if foot.tone(at) == foot.tone(at + 1) == "3":
                foot.set_tone(at, "2")


def _third_of_three(foot: Foot) -> None:
    first = len(halves(foot.text)[0])
    tail_is_third = all(s[-1] == "3" for s in foot.syllables[first:])
    if foot.all_third():
        if first == 2:
            foot.set_tone(0, "2")
        foot.set_tone(1, "2")
    elif first == 2 and foot.tone(0) == foot.tone(1) == "3":
        foot.set_tone(0, "2")
    elif first == 1 and foot.tone(1) == foot.tone(2) == "3":
        foot.set_tone(1, "2")
    elif first < 3 and foot.tone(first) == foot.tone(first - 1) == "3" and not tail_is_third:
        foot.set_tone(first - 1, "2")


_FULL_REPEATS = frozenset(
    "人人 天天 年年 月月 日日 处处 事事 代代 家家 户户 样样 步步 句句 条条 种种 件件 层层"
    " 点点 个个 默默 渐渐 往往 常常 刚刚 仅仅 偏偏 统统 通通 明明 微微 深深 静静 轻轻 悄悄"
    " 缓缓 慢慢 好好 早早".split()
)
FULL_ZI = frozenset(
    "男子 女子 分子 原子 量子 电子 离子 质子 中子 因子 粒子 核子 孔子 老子 庄子 孟子 孙子"
    " 弟子 才子 王子 太子 公子 君子 游子 学子 浪子 父子 母子 孝子 天子 臣子 夫子 女子 瓜子"
    " 莲子 种子 松子 鱼子 卵子 精子 光子 介子 算子 妃子 赤子 养子 长子 独子 次子 骄子 仙子"
    " 莘莘学子 亲子 棋子 石子 枪子 菜子 虾子".split()
)
