"""Mandarin text as it is read aloud: dates, times, money, units, percentages, numbers, symbols.

In: a `SpanText` whose punctuation is plain ASCII. Out: Han characters and `, . ! ? - …` (other
scripts are left for the pipeline to route); every spoken character keeps the span of what was
written. Rules run in order, the specific before the general.
"""

from __future__ import annotations

import re

from . import numbers_zh as say
from .rules import Rule, apply, rule
from .spans import SpanText

_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_UNITS = {
    "km²": "平方千米", "km2": "平方千米", "m²": "平方米", "m2": "平方米", "cm²": "平方厘米",
    "cm2": "平方厘米", "m³": "立方米", "m3": "立方米", "km/h": "千米每小时", "m/s": "米每秒",
    "km": "千米", "dm": "分米", "cm": "厘米", "mm": "毫米", "nm": "纳米", "m": "米",
    "kg": "千克", "mg": "毫克", "g": "克", "t": "吨", "ml": "毫升", "mL": "毫升", "L": "升",
    "min": "分钟", "ms": "毫秒", "h": "小时", "s": "秒", "kWh": "千瓦时", "kW": "千瓦",
    "Hz": "赫兹", "kHz": "千赫", "MHz": "兆赫", "GHz": "吉赫", "dB": "分贝", "V": "伏", "W": "瓦",
    "μg/m³": "微克每立方米", "μg": "微克", "μm": "微米", "℃": "度", "°C": "度", "℉": "华氏度",
    "°F": "华氏度", "°": "度",
}  # fmt: skip
_UNIT_RE = "|".join(sorted((re.escape(u) for u in _UNITS), key=len, reverse=True))
_MONEY = {"¥": "元", "￥": "元", "$": "美元", "€": "欧元", "£": "英镑", "₩": "韩元", "₹": "卢比"}
_MEASURES = (
    "个|位|人|名|只|条|张|把|本|支|枝|件|双|对|套|辆|台|架|座|间|家|棵|朵|颗|粒|块|片|杯|瓶|碗|盘|盒|包|袋|箱"
    "|次|回|遍|趟|场|届|年|岁|天|日|周|月|小时|分钟|分|秒|点|元|角|毛|美元|欧元|英镑|公里|千米|米|厘米|毫米"
    "|公斤|千克|斤|克|吨|升|毫升|倍|层|楼|页|章|节|篇|首|句|字|种|类|项|期|级|度|路|口|头|匹|群|排|行|列|步"
    "|万|亿|千|百|多|余|几|分之|平方|立方|折|元钱|块钱|星期|世纪|季|夜|晚|站|圈|瓶|顿|份|团|队|班|组|成|口|门|亩"
)
_AS_DIGITS = (
    "号|号码|编号|电话|手机|密码|账号|代码|邮编|房间|房间号|学号|车牌|尾号|验证码|拨打|热线|QQ|微信"
)
_SYMBOLS = {"+": "加", "=": "等于", "≈": "约等于", "×": "乘", "÷": "除以", "<": "小于", ">": "大于",
            "≤": "小于等于", "≥": "大于等于", "±": "正负", "%": "百分之", "&": "和", "@": "艾特",
            "π": "派", "√": "根号", "°": "度", "№": "第", "½": "二分之一", "~": "到"}  # fmt: skip


def normalise(text: SpanText) -> SpanText:
    """Apply every rule."""
    return apply(_RULES, text)


def _date(match: re.Match[str]) -> str | None:
    month, day = int(match["month"]), int(match["day"])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return f"{say.digits(match['year'])}年{say.cardinal(month)}月{say.cardinal(day)}日"


def _time(match: re.Match[str]) -> str | None:
    hour, minute = int(match["hour"]), int(match["minute"])
    if hour > 24:
        return None
    words = "两点" if hour == 2 else say.cardinal(hour) + "点"
    if minute == 30 and not match["second"]:
        words += "半"
    elif minute or match["second"]:
        words += ("零" if minute < 10 else "") + say.cardinal(minute) + "分"
    if match["second"]:
        words += say.cardinal(int(match["second"])) + "秒"
    return words


def _money(match: re.Match[str]) -> str:
    return say.count(match["amount"]) + (match["scale"] or "") + _MONEY[match["sign"]]


def _unit(match: re.Match[str]) -> str:
    zero = "零下" if match["sign"] and match["unit"][0] in "℃°℉" else "负" if match["sign"] else ""
    return zero + say.count(match["amount"]) + _UNITS[match["unit"]]


def _whole(match: re.Match[str]) -> str:
    written = match[0]
    if written.isdigit() and (len(written) > 1 and written[0] == "0" or len(written) > 12):
        return say.digits(written)
    return say.count(written) if len(written) > 1 else say.decimal(written)


_TO = r"\s?[-~—–]\s?"
_RULES: tuple[Rule, ...] = (
    rule(r"(?<!\d)(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})(?!\d)", _date),
    rule(r"(?<!\d)(\d{4})(?=\s*[-~—–至到]\s*\d{4}年)", lambda m: say.digits(m[1])),
    rule(r"(?<=[零〇一二三四五六七八九])\s*[-~]\s*(?=\d{4}年)", "到"),
    rule(r"(?<!\d)(\d{4}|\d{2})(?=年(?:代|级)?)", lambda m: say.digits(m[1])),
    rule(r"(?<!\d)([5-9]0|[01][05])(?=后)", lambda m: say.digits(m[1])),
    rule(r"(?<=比分|比例)(\D{0,3})(\d+):(\d+)", r"\1\2比\3"),
    rule(rf"(?<=:\d\d){_TO}(?=\d{{1,2}}:\d\d)", "到"),
    rule(
        r"(?<![\d:])(?P<hour>\d{1,2}):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?(?![\d:])", _time
    ),
    rule(r"(?<![\d:])(\d+):(\d+)(?![\d:])", r"\1比\2"),
    rule(
        r"(?<!\d)(?:\+?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?!\d)|(?<!\d)0\d{2,3}-?\d{7,8}(?!\d)"
        r"|(?<!\d)[48]00[- ]?\d{3}[- ]?\d{4}(?!\d)",
        lambda m: say.digits(m[0], telephone=True),
    ),
    rule(
        r"(?<!\d)1(?:1[0249]|2[02]|23\d\d|00\d\d)(?!\d)(?=热线|电话|报警)"
        r"|(?<=打)1(?:1[0249]|2[02]|2\d{3})(?!\d)|(?<!\d)\d{3,4}(?=室|号?房|教室|病房|包间|次列车|次航班|路公交)",
        lambda m: say.digits(m[0], True),
    ),
    rule(rf"%{_TO}(?=\d)", "%到"),
    rule(rf"([¥￥$€£₩₹])\s?({_NUMBER}){_TO}\1?(?=\d)", r"\2到\1"),
    rule(r"(?<=\d)\s?[-−]\s?(?=\d+(?:\.\d+)?\s?=)", "减"),
    rule(
        r"(?<![\d/])(?P<above>\d+)/(?P<below>\d+)(?![\d/])",
        lambda m: f"{say.cardinal(int(m['below']))}分之{say.cardinal(int(m['above']))}",
    ),
    rule(rf"(?P<sign>[¥￥$€£₩₹])\s?(?P<amount>{_NUMBER})(?P<scale>[万亿千百]*)", _money),
    rule(
        rf"(?P<sign>-)?(?P<amount>{_NUMBER})\s?%",
        lambda m: "百分之" + ("负" if m[1] else "") + say.decimal(m[2]),
    ),
    rule(rf"({_NUMBER})\s?‰", lambda m: "千分之" + say.decimal(m[1])),
    rule(rf"(?<=[\d日号月年点时分℃C]){_TO}(?=\d)", "到"),
    rule(
        rf"(?<![\dA-Za-z])(?P<sign>[-−])?(?P<amount>{_NUMBER})\s?(?P<unit>{_UNIT_RE})(?![A-Za-z])",
        _unit,
    ),
    rule(r"(?<=第)\d+", lambda m: say.cardinal(int(m[0]))),
    rule(
        r"(?:(?<=[零幺二三四五六七八九]转)|(?<=[零幺二三四五六七八九],转)|(?<=分机)|(?<=号)|(?<=码)|(?<=电话)|(?<=手机)|(?<=房间)|(?<=拨打)|(?<=热线)|(?<=[A-Za-z]-))"
        r"((?:是|为|:|,)?)(\d{3,})(?!\.?\d)",
        lambda m: m[1] + say.digits(m[2], telephone=True),
    ),
    rule(r"(?<![\dA-Za-z])[-−](?=\d)", "负"),
    rule(rf"(?<!\d|\.)(?P<n>2)(?=(?:{_MEASURES}))(?!月|日|号|分之|十|楼|路|级|期|班|世纪)", "两"),
    rule(rf"(?:{_NUMBER})", _whole),
    rule(r"[+=≈×÷<>≤≥±%&@π√°№½]", lambda m: _SYMBOLS[m[0]]),
)
