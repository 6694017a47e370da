"""What a speaker agrees to, in plain words, in English and Mandarin, filled in with the scope.

The text is part of the signed record, so that nobody can later say that something else was meant.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

VERSION = "1"
PURPOSES = {
    "en": {"personal": "personal use", "research": "research", "commercial": "commercial use"},
    "zh": {"personal": "个人使用", "research": "科学研究", "commercial": "商业用途"},
}
LANGUAGES = {
    "en": {"en": "English", "zh": "Mandarin"},
    "zh": {"en": "英语", "zh": "普通话"},
}
TEXT = {
    "en": """Agreement to make and use a synthetic copy of a voice (version {version})

1. I am the person {who}, and the recording is of my own voice.
2. From my recording a computer model of my voice is made. It can say sentences that I never said.
3. It may be used for: {purposes}. In these languages: {languages}. For nothing else.
4. This holds until {until}.
5. I can take my agreement back at any time and need give no reason. From then on nothing new is
   said in my voice. What was already published is not undone by that.
6. Every sound made with my voice carries an inaudible mark and is put on record, so that one can
   find out where it came from.
7. My voice must not be used to deceive anyone about who is speaking, nor to insult or harm.
""",
    "zh": """声音合成授权书（第 {version} 版）

一、本人（{who}）确认，录音中是我自己的声音。
二、系统将根据我的录音制作我的声音模型。它能说出我从未说过的话。
三、许可用途：{purposes}。许可语言：{languages}。除此之外不得使用。
四、有效期至：{until}。
五、我可以随时撤回授权，无需说明理由。撤回之后，不得再用我的声音合成任何新内容；此前已经发布的内容不因此消失。
六、用我的声音合成的每一段音频都带有听不见的标记，并记录在案，以便查明来源。
七、不得用我的声音冒充他人、欺骗、侮辱或伤害任何人。
""",
}
JOIN = {"en": ", ", "zh": "、"}
NO_END = {"en": "I take it back", "zh": "本人撤回为止"}


def written(
    language: str,
    who: str,
    purposes: Sequence[str],
    languages: Sequence[str],
    expires: float | None,
) -> str:
    """The agreement's text in `en` or `zh`."""
    if language not in TEXT:
        raise ValueError(f"the agreement is written in en and zh, not in {language!r}")
    until = NO_END[language]
    if expires is not None:
        until = time.strftime("%Y-%m-%d", time.gmtime(expires))
    join = JOIN[language]
    return TEXT[language].format(
        version=VERSION,
        who=who,
        purposes=join.join(PURPOSES[language][purpose] for purpose in purposes),
        languages=join.join(LANGUAGES[language][name] for name in languages),
        until=until,
    )
