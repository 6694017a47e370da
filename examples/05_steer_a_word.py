"""Raise, stretch and stress one word; keep the edits. Run: python examples/05_steer_a_word.py"""

from voxray import save, steer, tts

text = "She keeps her old letters in a wooden box."
higher = steer.Prosody(word="old", semitones=3.0, decibels=3.0, rate=0.8, pause_ms=120)
stressed = steer.Emphasis(word="letters", dose=3.0)
edits = higher + stressed
edits.save("05_edits.json")
save(tts(text, "nova", seed=1), "05_plain.wav")
speech = tts(text, "nova", seed=1, edits=steer.load("05_edits.json"))
save(speech, "05_steered.wav")
for word in speech.words:
    print(f"{word.start_s:5.2f} - {word.end_s:5.2f} s  {word.text}")
