"""Say a sentence in a built-in voice, and look at every intermediate. Run: python examples/01_say.py"""

from voxray import save, tts

speech = tts("She keeps her old letters in a wooden box.", "nova", seed=1)
save(speech, "01_say.wav")
print(f"{speech.seconds:.2f} s, {len(speech.tokens)} tokens, seed {speech.seed}")
for word in speech.words:
    print(f"{word.start_s:5.2f} - {word.end_s:5.2f} s  {word.text}")
