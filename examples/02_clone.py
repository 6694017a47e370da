"""Clone a voice from a recording of someone who agreed to it. Run: python examples/02_clone.py me.wav"""

import sys

from voxray import Voice, save, tts

voice = Voice.from_file(sys.argv[1])
voice.save("02_voice.safetensors")
for name, value in voice.recording.items():
    print(f"{name}: {value:.3g}")
save(tts("This is my voice, and I agreed to it.", voice, seed=1), "02_clone.wav")
