"""Mandarin: numbers, polyphones, sandhi, neutral tone, erhua."""

import pytest

from voxray.text import TextPipeline
from voxray.text.mandarin import UNREADABLE, readings

speak = TextPipeline()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("不要不可能", "b u2 y ao4 b u4 k e3 n eng2"),
        ("好不好", "h ao3 b u5 h ao3"),
        ("一定一起第一", "y i2 d ing4 y i4 q i3 d i4 y i1"),
        ("你好", "n i2 h ao3"),
        ("展览馆", "zh an2 l an2 g uan3"),
        ("老虎和小鸟", "l ao2 h u3 h e2 x iao2 n iao3"),
        ("我们喜欢葡萄", "w o3 m en5 x i3 h uan5 p u2 t ao5"),
        ("小孩儿", "x iao3 h ai2 EE er2"),
        ("女儿", "n v3 EE er2"),
        ("重庆的重量", "ch ong2 q ing4 d e5 zh ong4 l iang4"),
        ("在银行里长大", "z ai4 y in2 h ang2 l i2 zh ang3 d a4"),
        ("音乐让人快乐", "y in1 y ve4 r ang4 r en2 k uai4 l e4"),
        ("一九九八年一月", "y i1 j iu3 j iu3 b a1 n ian2 y i1 y ve4"),
        ("一百一十一万", "y i4 b ai3 y i1 sh ir2 y i1 w an4"),
        ("一千", "y i4 q ian1"),
        ("一比二", "y i1 b i3 EE er4"),
    ],
)
def test_readings(text, expected):
    assert str(speak(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024年10月1日", "二零二四年十月一日"),
        ("1949~2024年", "一九四九到二零二四年"),
        ("5:45", "五点四十五分"),
        ("128.50元", "一百二十八点五零元"),
        ("¥20", "二十元"),
        ("95.5%", "百分之九十五点五"),
        ("电话13900001111", "电话幺三九零零零零幺幺幺幺"),
        ("房间号101", "房间号幺零幺"),
        ("1,234,567个", "一百二十三万四千五百六十七个"),
        ("2个", "两个"),
        ("第22届", "第二十二届"),
        ("3.08kg的包裹", "三点零八千克的包裹"),
        ("气温-3℃", "气温零下三度"),
        ("9/12的人", "十二分之九的人"),
        ("10050人", "一万零五十人"),
        ("80后", "八零后"),
        ("比分3:2，比例1:20", "比分三比二比例一比二十"),
        ("8:00-17:30", "八点到十七点半"),
        ("5-10kg，10%-20%，¥100-200", "五到十千克百分之十到百分之二十一百到二百元"),
        ("10月1日-7日，-3℃~5℃", "十月一日到七日零下三度到五度"),
        ("10-3=7", "十减三等于七"),
        ("+86 138 1234 5678，转8001", "八六幺三八幺二三四五六七八转八零零幺"),
        ("打110，120", "打幺幺零一百二十"),
        ("12号楼302室，2楼，2路", "十二号楼三零二室二楼二路"),
        ("2000个，12000人", "两千个一万二千人"),
    ],
)
def test_normalisation(text, expected):
    assert "".join(word.text for word in speak(text, "zh").words) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("还书", "h uan2 sh u1"),
        ("还有", "h ai2 y ou3"),
        ("他得努力", "t a1 d ei2 n u3 l i4"),
        ("看得见", "k an4 d e5 j ian4"),
        ("获得土地的目的", "h uo4 d e2 t u3 d i4 d e5 m u4 d i4"),
        ("悄悄地走", "q iao1 q iao1 d e5 z ou3"),
        ("以上的电子", "y i3 sh ang4 d e5 d ian4 z i03"),
        ("这条路很长", "zh e4 t iao2 l u4 h en3 ch ang2"),
        ("他长大", "t a1 zh ang3 d a4"),
        ("一只猫只吃鱼", "y i4 zh ir1 m ao1 zh ir3 ch ir1 y v2"),
        ("他教我数学", "t a1 j iao1 w o3 sh u4 x ve2"),
        ("衣服干了", "y i1 f u5 g an1 l e5"),
        ("忘不了", "w ang4 b u5 l iao3"),
    ],
)
def test_polyphones_in_context(text, expected):
    assert str(speak(text)) == expected


def test_every_character_has_sounds_or_stays_silent():
    silent = [c for c in map(chr, range(0x4E00, 0x9FA6)) if readings(c) == (UNREADABLE,)]
    assert len(silent) < 20
    assert speak("你㐀好^").symbols[:2] == ["n", "i3"]


def test_traditional_reads_as_simplified():
    assert (
        speak("妳們喜歡吃臺灣的鳳梨酥嗎？").symbols == speak("你们喜欢吃台湾的凤梨酥吗？").symbols
    )
