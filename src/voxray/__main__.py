"""`python -m voxray` is the `voxray` command."""

from .commands import run

run()
