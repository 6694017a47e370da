"""Mandarin characters with two readings, where the dictionary of phrases cannot tell: by their neighbours.

`resolve` reads a character that the segmenter left alone (还书 huan2, 还有 hai2): the first rule whose
`before` ends the clause so far and whose `after` begins the rest. `firm` names words whose last syllable
keeps its tone though it looks like a particle or a suffix (土地, 目的, 获得, 以上, 电子).
"""

from __future__ import annotations

import re
from functools import cache

from .sandhi import FULL_ZI

_COUNTS = "[零〇一二三四五六七八九十百千万亿两几每这那哪各某此多半]"
_ENDS = "(?:$|了|吗|吧|呢|的)"

# character, reading, what goes before, what follows; the last of a character is the rule for the rest
_RULES = f"""
还 huan2 - (?:给|书|钱|债|款|清|贷|礼|愿|我(?!们|是|要|有|没|想)|你(?!们|是|要|有|没|想))
还 huan2 (?:归|偿|退|没|不|来|去|已|借|按时|及时) {_ENDS}
得 dei3 (?:我|你|他|她|它|们|您|咱|就|可|都|也|总|非|又|真|先|只|还) (?!到|了|出|起|过|的|知|分|奖|病|罪|逞|意|益|$)
得 de2 - (?:了(?:奖|病|分|到)|奖|病|分|罪|逞|知)
得 de5 - -
地 di4 (?:这|那|块|片|亩|寸|种|耕|扫|拖|在|下|上|遍|满|占|土|田|空|的) (?:$|里|上|下|面|中|边|板|方|区|的)
地 de5 - -
长 zhang3 - (?:出|大(?!江)|得|满|胖|在|着|个子|毛|草|高)
长 zhang3 (?:班|市|校|队|部|局|所|院|处|科|厂|省|县|区|会|董事|团|州|组|船|站|社|村|镇|师|军|排|秘书|增) -
长 chang2 - -
数 shu3 (?:我|你|他|她|来|去|请|会|能|数一|开始) -
数 shu3 - (?:一数|了|到|着|不|清|钱|出|起来|星星)
数 shu4 - -
教 jiao1 - (?:我|你|他|她|它|大家|学生|孩子|小|书|数|语|英|中|音|画|唱|什么|了|过|会|给|得|人)
只 zhi1 {_COUNTS} -
只 zhi3 - -
种 zhong3 {_COUNTS} -
种 zhong4 - (?:了|树|花|菜|田|地|上|下|满|着|豆|瓜|粮|稻|麦|草|点)
种 zhong3 - -
干 gan1 (?:服|发|口|晒|晾|擦|烘|风|吹|烤|泪|水|未|没) {_ENDS}
干 gan4 - -
为 wei2 (?:成|作|称|认|视|变|分|译|改|定|选|评|列|沦|化|任|升|降|约|均|仅|最|颇|更|大|极|甚|尤|较|以|年|时|长|宽|高|价) -
为 wei2 - (?:[零一二三四五六七八九十百千万两]|主|首|准|例|止|界|期|限|生|难|人(?!民|们|类|家))
为 wei4 - -
着 zhao2 (?:睡|找|点|猜|见|用得|用不|管不|够不|犯不) -
着 zhe5 - -
行 hang2 (?:第.|一|两|几|本|央|总|分|支|同|内|外) (?!人|$)
行 xing2 - -
重 chong2 - (?:新|复|来|做|写|启|建|返|拍|播|申|温|逢|演|组|试|装|译|走|说|学)
重 zhong4 - -
空 kong4 (?:有|没|抽|得|趁) (?:$|来|去|吗|的时候|就|再)
背 bei1 - (?:着|起|上|个|包)
发 fa4 (?:头|白|黑|理|短|长|金|假|染|烫|剪) {_ENDS}
处 chu3 - (?:在|于|理|罚|分|置)
量 liang2 - (?:了|量|一量|一下|体温|血压|身高|尺寸|出|着)
系 ji4 - (?:鞋带|好|安全带|着|上|紧|领带|围巾)
倒 dao3 (?:摔|跌|滑|推|打|晕|病|累|吓|撞|绊|压|击|拉) -
倒 dao3 - (?:在|塌|闭)
调 tiao2 - (?:一下|低|高|到|大|小|好|整|味|节|试|匀|暗|亮)
弹 dan4 (?:子|炮|炸|导|枪|飞|手榴|氢|原子|核|流) -
弹 tan2 - -
传 zhuan4 (?:自|列|左|水浒|正|外|别|评|蛇) {_ENDS}
中 zhong4 - (?:奖|毒|暑|弹|计|标|了(?:奖|彩票|大奖|毒|弹|枪|邪|计|圈套|头彩))
假 jia4 (?:放|请|休|病|事|产|婚|年|暑|寒|长|度|春|补|告|超) -
了 liao3 不 -
切 qie1 - -
"""

_WORDS = {
    "切开": "qie1 kai1", "大厦": "da4 sha4", "背着": "bei1 zhe5", "空着": "kong1 zhe5",
    "数一数": "shu3 yi1 shu3", "说客": "shui4 ke4", "压根": "ya4 gen1",
}  # fmt: skip
_FIRM = {
    "得": "获得 取得 难得 心得 所得 赢得 求得 博得 夺得 争得 觅得 谋得 购得 应得 自得 不得 一得 相得 失而复得"
    " 罪有应得 一举两得 志在必得 心安理得 求之不得 哭笑不得 彼得 悠然自得 洋洋自得 不可多得 不劳而得",
    "的": "目的 众矢之的 标的 鹄的 中的",
    "上": "以上 之上 北上 至上 无上 至高无上 向上",
    "下": "以下 之下 天下 上下 南下 殿下 阁下 陛下 足下 麾下 门下 名下 在下 不在话下 相比之下 私下",
}
_ADVERBS = frozenset(
    "忽地 蓦地 猛地 倏地 似地 渐地 真地 腾地 霍地 嗖地 刷地 哗地 轰地 唰地 噌地 陡地 起劲地 难过地 一个劲地"
    " 整块地 系统地 伤心地".split()
)
_FIRM_TONE = {"得": "2", "的": "4", "地": "4", "上": "4", "下": "4", "子": "3"}


@cache
def _table() -> dict[str, list[tuple[str, re.Pattern[str], re.Pattern[str]]]]:
    table: dict[str, list[tuple[str, re.Pattern[str], re.Pattern[str]]]] = {}
    for line in _RULES.strip().splitlines():
        char, reading, before, after = line.split(" ")
        left = re.compile("" if before == "-" else f"(?:{before})$")
        right = re.compile("" if after == "-" else after)
        table.setdefault(char, []).append((reading, left, right))
    return table


def resolve(char: str, before: str, after: str) -> str | None:
    """The reading of a lone character between the rest of its clause; None if no rule knows."""
    for reading, left, right in _table().get(char, ()):
        if left.search(before) and right.match(after):
            return reading
    return None


def citation(word: str, tag: str, before: str, after: str, listed: list[str]) -> list[str]:
    """Syllables of a word in its clause, given those of the dictionary (`listed`)."""
    if len(word) == 1:
        return [resolve(word, before, after) or listed[0]]
    if word in _WORDS:
        return _WORDS[word].split()
    if len(word) == 3 and word[1] == "得" and word[0] not in "不非":  # 看得见
        return [listed[0], "de5", listed[2]]
    if word[-1] == "地" and not firm(word, tag):  # 悄悄地
        return [*listed[:-1], "de5"]
    return listed


def firm(word: str, tag: str) -> str | None:
    """Tone that the last syllable of a word keeps, though sandhi takes it for a particle or suffix."""
    last = word[-1]
    if len(word) < 2 or last not in _FIRM_TONE:
        return None
    place = last == "地" and tag not in ("d", "z") and word not in _ADVERBS
    return _FIRM_TONE[last] if place or word in _firm_words() else None


@cache
def _firm_words() -> frozenset[str]:
    return FULL_ZI | frozenset(text for texts in _FIRM.values() for text in texts.split())
