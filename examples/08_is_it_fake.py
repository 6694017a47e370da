"""Is it synthetic, and whose is it? Run: python examples/08_is_it_fake.py [recording.wav]"""

import json
import sys
from pathlib import Path

from voxray import audio, save, tts
from voxray.forensics import judge
from voxray.trust.verify import examine

spoken = Path("08_spoken.wav")
save(tts("She keeps her old letters in a wooden box.", "nova", seed=1), spoken)
found = {}
for file in [spoken, *map(Path, sys.argv[1:])]:
    hint = judge(*audio.read_audio(file))  # from the sound alone: a hint, no proof
    proof = examine(file)  # mark, credentials, record
    print(f"{file.name}: log odds of synthetic {hint.score:+.2f}")
    for line in (*proof.proven, *proof.likely, *proof.unknown):
        print("  ", line)
    found[file.name] = {"log_odds": hint.score, **proof.report()}
Path("08_is_it_fake.json").write_text(json.dumps(found, indent=1, default=str))
