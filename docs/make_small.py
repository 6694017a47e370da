"""Make the built-in `mini-small` anew: a taught student's weights beside those of the package's `mini`.

    python docs/make_small.py STUDENT_FOLDER [TARGET_FOLDER]

The student's folder holds `student.safetensors` and `student.json` (its `StudentConfig`). Only the student is
written, in 8 bits; all else is the base's. Make it again whenever `mini` has other weights: it names their hash.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file

from voxray.bundle import Bundle
from voxray.commands.text import MANIFEST
from voxray.compress.student import save_beside
from voxray.config import StudentConfig
from voxray.models.student import Student
from voxray.packaged import BUILTIN, DEFAULT

TRAINING = "the GPT stage is an LSTM student that mini's GPT taught; all else is mini's (docs/training-log.md)"
LIMIT = 60_000_000  # bytes that all weights in the package may take


def student_in(folder: Path) -> Student:
    """The taught student; ValueError or OSError says what is wrong with its folder."""
    config = StudentConfig.model_validate_json((folder / "student.json").read_text("utf-8"))
    student = Student(config)
    state = {
        name: tensor.float() for name, tensor in load_file(folder / "student.safetensors").items()
    }
    student.load_state_dict(state)
    return student.eval()


def main() -> None:
    """The command."""
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else BUILTIN / f"{DEFAULT}-small"
    base = BUILTIN / DEFAULT
    save_beside(student_in(Path(sys.argv[1])), DEFAULT, target, training=TRAINING)
    if (base / MANIFEST).is_file():
        shutil.copy(base / MANIFEST, target / MANIFEST)
    Bundle.load(target)  # it must open
    files = {*target.glob("weights*.safetensors"), *base.glob("weights*.safetensors")}
    total = sum(path.stat().st_size for path in files)
    sys.stdout.write(f"{target}; all weights {total:,} bytes of {LIMIT:,}\n")
    if total > LIMIT:
        sys.exit("too much for the package: save mini with rounded=('content.',) first")


if __name__ == "__main__":
    main()
