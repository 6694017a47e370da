"""Why does something stand out in a word? Causes by intervention. Run: python examples/04_why.py"""

from voxray.explain import trace
from voxray.explain.why import events_of, why

speech = trace("She really keeps her old letters in a wooden box.", "nova", seed=1).spoken
events = events_of(speech, speech.passages[0])
for event in events[:5]:
    print(f"{event.start_s:.2f} s  {event.text}: {event.name} of {event.size:+.2f} {event.unit}")
if events:
    answer = why(speech, word=events[0].word, what=events[0].measure.kind, draws=3)
    print(answer.sentence)
    answer.save("04_why.json")
