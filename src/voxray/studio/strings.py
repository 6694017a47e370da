"""Every word of the page, in English and Chinese: key -> (English, Chinese).

A test holds that no key is missing or unused and that both say the same placeholders. What the library
itself refuses without an entry under `error.` stays English behind "cannot be done".
"""

from __future__ import annotations

from ..notes import PAUSE
from ..notes import SAID as NOTES
from ..serve.errors import Problem, problem_of
from ..trust.findings import MISSING, SAID

LANGUAGES = ("en", "zh")
NAMES = {"en": "English", "zh": "中文"}

TABLE: dict[str, tuple[str, str]] = {
    "title": ("voxray studio", "voxray 工作室"),
    "lead": (
        "Type, choose a voice, listen – and ask why it sounds as it does. Everything stays on this machine.",
        "输入文字，选择声音，聆听，再问问它为什么这样说。一切都留在本机。",
    ),
    "other": ("中文", "English"),
    "tab.speak": ("Speak", "说话"),
    "tab.script": ("Script", "剧本"),
    "tab.voice": ("New voice", "新声音"),
    "tab.verify": ("Verify", "查验"),
    "tab.tune": ("Fine-tune", "微调"),
    # speak
    "text": ("What to say", "要说的话"),
    "text.example": (
        "I really mean it, you know.",
        "今天的天气真不错，我们去公园散步吧。",
    ),
    "text.hint": ("English or Mandarin, or both", "英文、中文均可，也可混用"),
    "voice": ("Voice", "声音"),
    "seed": ("Seed", "种子"),
    "seed.info": ("Same seed, same speech; empty: a new one", "种子相同，结果相同；留空则随机"),
    "speed": ("Speed", "语速"),
    "temperature": ("Liveliness (temperature)", "生动程度（温度）"),
    "temperature.info": ("0: the model's own choice of it", "0：用模型自己的设定"),
    "more": ("More settings", "更多设置"),
    "speak": ("Speak", "说出来"),
    "stop": ("Stop", "停止"),
    "speaking": ("Speaking … {share}", "正在说…… {share}"),
    "waiting": ("Getting ready …", "正在准备……"),
    "stopped": ("Stopped.", "已停止。"),
    "spoken": ("Said in {seconds} s.", "用时 {seconds} 秒。"),
    "take.a": ("A", "A"),
    "take.b": ("B – with your changes", "B – 改动之后"),
    "facts": (
        "{seconds} s · seed {seed} · model {model} · record {record}",
        "{seconds} 秒 · 种子 {seed} · 模型 {model} · 记录 {record}",
    ),
    "download": ("Download:", "下载："),
    "strip.title": (
        "{count} speech tokens; bars show how open each choice was, up to {nats} nats",
        "{count} 个语音单元；竖条表示每次选择的不确定程度，最高 {nats} 奈特",
    ),
    "strip.token": (
        "token {token}, sound {symbol}, {seconds} s, entropy {nats} nats",
        "单元 {token}，音素 {symbol}，{seconds} 秒，熵 {nats} 奈特",
    ),
    "key.f0": ("pitch", "音高"),
    "key.entropy": ("how open the choice was", "选择的不确定程度"),
    "key.vowel": ("vowel", "元音"),
    "key.consonant": ("consonant", "辅音"),
    "key.onset": ("zero onset", "零声母"),
    "key.silence": ("pause", "停顿"),
    # why
    "pick": (
        "Click a moment or a word in the picture, or choose here.",
        "点击图中的某一刻或某个词，也可以在这里选择。",
    ),
    "moment": ("Moment (seconds)", "时刻（秒）"),
    "word": ("Word", "词"),
    "why.head": ("Why does it sound like this?", "为什么是这个声音？"),
    "why": ("Why here?", "这里为什么？"),
    "why.word": ("Why this word?", "这个词为什么？"),
    "why.asking": (
        "Saying it again with one thing changed at a time. This takes a while …",
        "每次只改动一处，重新说一遍。需要一些时间……",
    ),
    "why.done": ("Answered.", "已回答。"),
    "why.faithful": ("How far to trust this:", "可信程度："),
    "why.gone": (
        "without it {share} of the event is gone; effect {interval} {unit} with 95 % confidence; others of its kind: {control}.",
        "去掉它，现象消失 {share}；效应的 95% 置信区间为 {interval} {unit}；同类的其他部分：{control}。",
    ),
    "why.none": (
        "no single cause may be named: the strongest takes away {share}, or does not stand out among its kind.",
        "不能认定单一原因：最强的一项只带走 {share}，或在同类中并不突出。",
    ),
    "why.because": (
        "; without {cause} {share} of that is gone.",
        "；去掉{cause}后，其中的 {share} 消失。",
    ),
    "why.nobody": (
        "; no single cause stands out (the strongest: {cause}).",
        "；没有哪个单一原因特别突出（最强的是{cause}）。",
    ),
    "event.rise": ("“{word}” rises by {size} semitones", "“{word}”的音高上升 {size} 个半音"),
    "event.fall": ("“{word}” falls by {size} semitones", "“{word}”的音高下降 {size} 个半音"),
    "event.louder": ("“{word}” is louder by {size} dB", "“{word}”响 {size} 分贝"),
    "event.softer": ("“{word}” is softer by {size} dB", "“{word}”轻 {size} 分贝"),
    "event.pause": ("“{word}” is followed by {size} s of pause", "“{word}”之后停顿 {size} 秒"),
    "unit.semitones": ("semitones", "半音"),
    "unit.dB": ("dB", "分贝"),
    "unit.s": ("s", "秒"),
    "cause.word": ("the word “{name}”", "词“{name}”"),
    "cause.mark": ("the mark “{name}”", "标点“{name}”"),
    "cause.head": ("head {name} of the GPT", "GPT 的注意力头 {name}"),
    "cause.layer": ("layer {name} of the GPT", "GPT 的第 {name} 层"),
    "cause.token": ("token {name}", "语音单元 {name}"),
    "cause.prior head": ("head {name} of the prior", "先验的注意力头 {name}"),
    "cause.coupling": ("coupling {name} of the flow", "流模型的耦合层 {name}"),
    "cause.dice": ("the dice", "随机抽样"),
    "cause.speaker": ("the speaker vector", "说话人向量"),
    "cause.memory": ("what is remembered of the reference", "从参考录音记住的内容"),
    "cause.look-up": ("what is looked up in the reference", "在参考录音中查到的内容"),
    "cause.retrieval": ("the fine detail copied from the reference", "从参考录音复制的细节"),
    "why.cause": ("Cause", "原因"),
    "why.effect": ("Effect", "效应"),
    "why.interval": ("95 % interval", "95% 区间"),
    "why.share": ("Share", "占比"),
    "why.cost": (
        "✓: may be named as a cause. {count} candidates tried, {draws} draws of dice each, seed {seed}, {seconds} s",
        "✓：可以认定为原因。试了 {count} 个候选，每个 {draws} 次抽样，种子 {seed}，用时 {seconds} 秒",
    ),
    # changes
    "change.head": ("Change it", "改一改"),
    "emphasis": ("Emphasis on the chosen word", "对所选词的强调"),
    "emphasis.info": (
        "1: 3 semitones higher, 4 dB louder, 15 % slower; below 0: the other way round",
        "1：高 3 个半音，响 4 分贝，慢 15%；小于 0 则相反",
    ),
    "attention": ("Attention to the chosen word", "对所选词的注意力"),
    "attention.info": (
        "How many times as much the model looks at it",
        "模型看它的次数是原来的几倍",
    ),
    "head": ("Head (layer.head)", "注意力头（层.头）"),
    "gain": ("Gain of this head", "该头的增益"),
    "gain.info": ("0 takes it out, 1 leaves it as it is", "0 为去掉，1 为不变"),
    "concepts.head": ("Concepts", "概念"),
    "concepts.none": (
        "No concepts yet. `voxray steer concept NAME --from … --against … -o {folder}/NAME.json` makes one; start the studio again to see it.",
        "还没有概念。用 `voxray steer concept 名称 --from … --against … -o {folder}/名称.json` 制作，重启工作室后即可看到。",
    ),
    "changes.none": ("No changes yet.", "还没有改动。"),
    "changes.emphasis": ("emphasis on “{name}”: {value}", "强调“{name}”：{value}"),
    "changes.attention": ("attention to “{name}”: × {value}", "注意“{name}”：× {value}"),
    "changes.heads": ("head {name}: gain {value}", "注意力头 {name}：增益 {value}"),
    "changes.concepts": ("{name}: {value}", "{name}：{value}"),
    "hear": ("Hear it with the changes (B)", "听改动后的效果（B）"),
    "forget": ("Forget the changes", "清除改动"),
    "need.change": (
        "Nothing is changed yet: choose a word and move a slider.",
        "还没有任何改动：请先选一个词，再拖动滑块。",
    ),
    "need.word": ("Choose a word (or a head) first.", "请先选一个词（或注意力头）。"),
    "compare.told": (
        "Same text, same voice, same seed ({seed}): what differs comes from the changes.",
        "文字、声音、种子（{seed}）都相同：差别只来自改动。",
    ),
    "compare.word": ("Word", "词"),
    "compare.length": ("Length A → B", "时长 A → B"),
    "compare.pitch": ("Pitch A → B", "音高 A → B"),
    "compare.level": ("Level A → B", "响度 A → B"),
    # script
    "script": ("Script", "剧本"),
    "script.hint": (
        "One turn a line: NAME: text. A name may be a voice's.",
        "每行一句：名字：内容。名字可以直接写声音的名字。",
    ),
    "script.example": (
        "Anna: Did you hear that?\nBob: No. What was it?\nAnna: Somebody said my name.",
        "小雨：你听见了吗？\n阿明：没有，什么声音？\n小雨：有人叫我的名字。",
    ),
    "cast": ("Who speaks in which voice", "谁用哪个声音"),
    "cast.info": (
        "NAME = VOICE, commas between; left out: built-in voices in turn",
        "名字 = 声音，用逗号分开；不写则依次使用内置声音",
    ),
    "script.speak": ("Speak the script", "朗读剧本"),
    # voices
    "voice.lead": (
        "A new voice speaks only with its speaker's consent. Record 3 to 30 seconds of one person in a quiet room.",
        "新声音必须先得到本人同意才能使用。请在安静处录下一个人 3 到 30 秒的声音。",
    ),
    "voice.name": ("Name of the voice", "声音的名字"),
    "voice.who": ("Whose voice it is", "这是谁的声音"),
    "voice.who.info": (
        "A name or an id; it stands in the consent record",
        "姓名或编号，会写入同意记录",
    ),
    "voice.sample": ("1. Recording of the voice", "1. 声音的录音"),
    "voice.transcript": ("What is said in it (optional)", "录音的内容（可不填）"),
    "voice.transcript.info": (
        "With it the manner of speaking is taken over, too",
        "填写后会一并学习说话的方式",
    ),
    "voice.consent": ("2. Consent", "2. 同意"),
    "voice.purposes": ("May be used for", "允许的用途"),
    "purpose.personal": ("personal use", "个人使用"),
    "purpose.research": ("research", "科学研究"),
    "purpose.commercial": ("commercial use", "商业用途"),
    "voice.kind": ("How the speaker agrees", "同意的方式"),
    "kind.read-aloud": ("reads a sentence aloud, here and now", "当场朗读一句话"),
    "kind.attested": ("has agreed in writing", "已书面同意"),
    "voice.ask": ("Show the sentence to read", "显示要朗读的句子"),
    "voice.sentence": ("Read this aloud within half an hour:", "请在半小时内朗读："),
    "voice.read": ("Recording of the sentence", "朗读的录音"),
    "voice.agreed": (
        "I confirm that the speaker agreed to the text above, in writing.",
        "我确认说话人已书面同意上述内容。",
    ),
    "voice.agreement": ("What the speaker agrees to", "同意书全文"),
    "voice.make": ("Make the voice", "制作声音"),
    "voice.made": (
        "{name} may speak now. Consent on record: {id}.",
        "{name} 现在可以说话了。同意记录：{id}。",
    ),
    "voices.head": ("Your voices", "你的声音"),
    "voices.none": ("No voices of your own yet.", "还没有自己的声音。"),
    "voices.kind": ("Kind", "类别"),
    "voices.consent": ("Consent", "同意"),
    "voices.choose": ("One of your voices", "选择自己的一个声音"),
    "voices.withdraw": ("Withdraw consent", "撤回同意"),
    "voices.delete": ("Delete the voice", "删除声音"),
    "voices.withdrawn": (
        "{name} is silent from now on ({count} consents ended).",
        "{name} 从现在起不能再说话（已结束 {count} 条同意）。",
    ),
    "voices.deleted": ("{name} is deleted.", "{name} 已删除。"),
    "kind.built in": ("built in", "内置"),
    "kind.own": ("your own", "自己的"),
    "kind.tuned": ("fine-tuned", "微调"),
    "consent.not needed": ("not needed", "不需要"),
    "consent.given": ("given", "已同意"),
    "consent.missing": ("missing", "没有"),
    # verify
    "verify.lead": (
        "Drop a sound file: its watermark, credentials and record are read. The file is not kept.",
        "拖入一个音频文件：读取水印、凭证和记录。文件不会保留。",
    ),
    "verify.file": ("Sound file", "音频文件"),
    "verify": ("Verify", "查验"),
    "verify.is.ours": ("Made by this installation of voxray.", "由本机的 voxray 合成。"),
    "verify.is.others": ("Signed by somebody else.", "由其他来源签名。"),
    "verify.is.unknown": ("Nothing is known of this file.", "无法得知该文件的来历。"),
    "verify.warning": ("Warning", "警告"),
    "verify.proven": ("Proven", "已证实"),
    "verify.likely": ("Likely", "很可能"),
    "verify.unknown": ("Unknown", "未知"),
    # what a file shows, by the codes of `trust.findings`
    "finding.credentials-none": (
        SAID["credentials-none"],
        "文件中没有内容凭证（Content Credentials；重新编码会使其丢失）",
    ),
    "finding.credentials-broken": (SAID["credentials-broken"], "内容凭证已损坏：{why}"),
    "finding.credentials-worthless": (SAID["credentials-worthless"], "损坏的凭证所说的一概不算数"),
    "finding.credentials-ours": (SAID["credentials-ours"], "由本机签名的内容凭证写明：由 AI 生成"),
    "finding.credentials-others": (
        SAID["credentials-others"],
        "由{signer}签名的内容凭证写明：{title}；是否信任签名者由你决定",
    ),
    "finding.mark-short": (SAID["mark-short"], "只有 {seconds} 秒，太短，无法查找水印"),
    "finding.mark-none": (
        SAID["mark-none"],
        "没有找到用本机密钥嵌入的水印；声音仍可能由其他来源合成，或水印已被破坏",
    ),
    "finding.mark-found": (
        SAID["mark-found"],
        "由本机的 voxray 说出：其中有本机的水印（没有水印的声音被误认的比例至多为 {chance}）",
    ),
    "finding.number-unread": (SAID["number-unread"], "读不出记录的编号；换一段更长的录音也许可以"),
    "finding.number-half": (
        SAID["number-half"],
        "只读出了记录编号的一半：有 {count} 条记录以它结尾",
    ),
    "finding.record-key": (
        SAID["record-key"],
        "记录 {id}：声音 {voice}，{when}，同意 {consent}，密钥 {caller}",
    ),
    "finding.record-owner": (
        SAID["record-owner"],
        "记录 {id}：声音 {voice}，{when}，同意 {consent}，由所有者本人",
    ),
    "finding.public-mark": (
        SAID["public-mark"],
        "由人工智能生成：含有公开水印（Perth）；其他工具也会加上它",
    ),
    "finding.samples-same": (SAID["samples-same"], "每一个采样都与记录 {id} 一致"),
    "finding.records-differ": (SAID["records-differ"], "水印与凭证指向不同的记录"),
    "missing.consent": (MISSING["consent"], "无"),
    "missing.signer": (MISSING["signer"], "未知签名者"),
    "missing.title": (MISSING["title"], "由 AI 生成"),
    # what stands beside a take, by the codes of `voxray.notes`
    "note.held-redrawn": (NOTES["held-redrawn"], "{words}念得太久，已重新生成"),
    "note.skipped-redrawn": (NOTES["skipped-redrawn"], "{words}被漏读，已重新生成"),
    "note.held": (NOTES["held"], "{words}念得太久，重新生成也没有改善"),
    "note.skipped": (NOTES["skipped"], "{words}被漏读，重新生成也没有改善"),
    "note.cut-off": (NOTES["cut-off"], "有一句没有念到结尾，已被截断"),
    "note.unspoken": (NOTES["unspoken"], "略去了无法朗读的文字：{characters}"),
    "note.front-end": (
        NOTES["front-end"],
        "文本前端与模型的不一致；`voxray text check` 可以指出差别",
    ),
    "note.front-end-voice": (NOTES["front-end-voice"], "文本前端与制作声音 {voice} 时的不一致"),
    "note.other-model": (NOTES["other-model"], "声音 {voice} 是用 {theirs} 制作的，而不是 {ours}"),
    "note.concept-memory": (
        NOTES["concept-memory"],
        "概念 {concept} 只移动说话人向量：声音 {voice} 从参考录音记住的内容（查到的帧、复制的细节）不变，会牵制音色的变化",
    ),
    "note.implied": (
        NOTES["implied"],
        "声音 {voice} 没有同意记录：使用它即表示你保证说话人已经同意，记录为 {id}",
    ),
    "note.pause": (PAUSE, "一处停顿"),
    # tune
    "tune.lead": (
        "A minute of one person's speech makes a model of their own. It runs in the background and takes about {minutes} minutes of computing.",
        "一个人一分钟的录音就能训练出专属模型。任务在后台运行，约需 {minutes} 分钟计算。",
    ),
    "tune.recordings": ("Recordings of one speaker", "同一人的录音"),
    "tune.transcripts": (
        "What they say (optional: .tsv, .list or .txt)",
        "录音的文字（可选：.tsv、.list 或 .txt）",
    ),
    "tune.transcripts.info": (
        "Needed where no speech recogniser is installed (the extra `eval`)",
        "未安装语音识别（扩展 `eval`）时必须提供",
    ),
    "tune.language": ("Language", "语言"),
    "tune.minutes": ("Minutes of speech to learn from", "用于学习的录音（分钟）"),
    "tune.limit": ("Computing minutes, at most", "计算时间上限（分钟）"),
    "tune.agreed": (
        "I confirm that the speaker agreed, in writing, to a model of their voice.",
        "我确认说话人已书面同意用其声音训练模型。",
    ),
    "tune.start": ("Start", "开始"),
    "tune.none": ("Nothing is being tuned.", "没有正在进行的微调。"),
    "tune.is.running": ("{name}: running for {minutes} min", "{name}：已运行 {minutes} 分钟"),
    "tune.is.done": (
        "{name}: done in {minutes} min. Choose it among the voices.",
        "{name}：已完成，用时 {minutes} 分钟。可在声音列表中选择。",
    ),
    "tune.is.failed": ("{name}: failed after {minutes} min", "{name}：{minutes} 分钟后失败"),
    "tune.is.stopped": ("{name}: stopped after {minutes} min", "{name}：{minutes} 分钟后停止"),
    "tune.curve": ("{first} → {last} at step {step}", "{first} → {last}，第 {step} 步"),
    # what the studio itself refuses
    "fault.seed": ("a seed is a whole number, not {text}", "种子必须是整数，而不是 {text}"),
    "fault.script-whole": (
        "a script is many takes: ask about one text in one voice",
        "剧本由许多段组成：请针对一个声音说的一段文字提问",
    ),
    "fault.turn-nameless": (
        "line {number} says not who speaks: write NAME: text",
        "第 {number} 行没有写明谁在说话：请写成 名字：内容",
    ),
    "fault.script-empty": (
        "the script is empty: write lines such as NAME: text",
        "剧本为空：请按 名字：内容 的格式书写",
    ),
    "fault.turn-empty": (
        "{name} says nothing: write text behind the colon",
        "{name} 没有台词：请在冒号后面写上内容",
    ),
    "fault.turns-many": (
        "the script has {count} turns; {most} are allowed",
        "剧本有 {count} 句，最多 {most} 句",
    ),
    "fault.cast": (
        "the cast wants NAME = VOICE, not {part}",
        "角色分配要写成 名字 = 声音，而不是 {part}",
    ),
    "fault.voice-unknown": ("there is no voice named {name}", "没有名为 {name} 的声音"),
    "fault.no-builtin": (
        "there are no built-in voices: name voices in the cast",
        "没有内置声音：请在角色分配中指定声音",
    ),
    "fault.take-gone": (
        "nothing has been said yet, or it is no longer kept",
        "还没有说过任何内容，或者已不再保留",
    ),
    "fault.tuning-runs": (
        "a fine-tune is running: wait, or stop it first",
        "正在微调：请等待，或先停止",
    ),
    "fault.model-exists": ("there is a model named {name} already", "已有名为 {name} 的模型"),
    "fault.voice-exists": ("there is a voice named {name} already", "已有名为 {name} 的声音"),
    "fault.transcripts": ("transcripts are one of {kinds}", "文字表只能是 {kinds} 之一"),
    "fault.recording-first": (
        "give a recording first: a minute or more of one speaker",
        "请先提供录音：同一人说话一分钟以上",
    ),
    "fault.recordings-many": ("at most {most} recordings at once", "一次最多 {most} 段录音"),
    "fault.tuned-voice": (
        "a tuned voice is deleted with its model's folder",
        "微调的声音随其模型文件夹一起删除",
    ),
    "fault.builtin-voice": ("a built-in voice stays", "内置声音不能删除"),
    "fault.file-first": ("give a {file} first", "请先提供{file}"),
    "fault.file-gone": ("the {file} is no longer here: give it again", "{file}已不在：请重新提供"),
    "fault.file-large": ("the {file} has over {most} MB", "{file}超过 {most} MB"),
    "file.sound": ("file", "文件"),
    "file.voice": ("recording of the voice", "声音的录音"),
    "file.sentence": ("recording of the sentence", "朗读的录音"),
    "file.transcripts": ("table of transcripts", "文字表"),
    # errors, by code
    "error.other": ("{message}", "无法完成：{message}"),
    "error.text-empty": (
        "The text is empty: type what is to be said.",
        "文字为空：请输入要说的话。",
    ),
    "error.text-too-long": ("The text is too long.", "文字太长。"),
    "error.audio-unreadable": (
        "The file is no sound that can be read.",
        "无法读取该音频文件。",
    ),
    "error.body-too-large": ("The file is too large or too long.", "文件太大或太长。"),
    "error.voice-unknown": ("There is no such voice.", "没有这个声音。"),
    "error.voice-exists": (
        "There is a voice or model of that name already.",
        "已有同名的声音或模型。",
    ),
    "error.consent-missing": (
        "This voice has no consent on record: nothing is said.",
        "缺少本人同意：不会发声。请填写说话人，并朗读句子或确认书面同意。",
    ),
    "error.consent-revoked": ("The consent was withdrawn.", "同意已被撤回。"),
    "error.consent-expired": (
        "The consent, or the number to read, has expired.",
        "同意或朗读号码已过期。",
    ),
    "error.consent-replayed": (
        "That number was read before: ask for a new sentence.",
        "这个号码已经用过：请重新获取句子。",
    ),
    "error.consent-speaker": (
        "The sentence seems to be read by another speaker.",
        "朗读者似乎不是同一个人。",
    ),
    "error.consent-text": (
        "The number is not heard in the recording.",
        "录音中没有听到该号码。",
    ),
    "error.consent-scope": ("The consent does not cover this.", "同意的范围不包括此用途。"),
    "error.records-unavailable": (
        "The records cannot be kept, so nothing is said.",
        "无法保存记录，因此不会发声。",
    ),
    "error.internal": ("Something failed; the terminal says what.", "出错了，详情见终端。"),
}


class Fault(Problem):
    """What the studio itself refuses, told in the page's language: `fault.KEY` with its figures."""

    def __init__(self, code: str, key: str, **values: object) -> None:
        self.key, self.values = key, values
        super().__init__(code, self.told(0))

    def told(self, column: int) -> str:
        """The line in the language of a column of the table."""
        shown = dict(self.values)
        if "file" in shown:
            shown["file"] = TABLE[f"file.{shown['file']}"][column]
        return TABLE[f"fault.{self.key}"][column].format(**shown)


class Words:
    """The page's words in one language: `words("speak")`."""

    def __init__(self, language: str) -> None:
        if language not in LANGUAGES:
            raise ValueError(f"the studio speaks {' and '.join(LANGUAGES)}, not {language!r}")
        self.language = language
        self._column = LANGUAGES.index(language)

    def __call__(self, key: str, **values: object) -> str:
        return TABLE[key][self._column].format(**values)

    def error(self, error: BaseException) -> str:
        """What went wrong, in one line: in English the library's own, which says more."""
        if isinstance(error, Fault):
            return _upper(error.told(self._column))
        problem = problem_of(error)
        known = TABLE.get(f"error.{problem.code}")
        if known is None:  # in English, behind a word of the page's language
            return _upper(self("error.other", message=problem.message))
        if self.language == "en" and problem.code != "internal":
            return _upper(problem.message)
        return known[self._column]


def _upper(line: str) -> str:
    return line[:1].upper() + line[1:]
