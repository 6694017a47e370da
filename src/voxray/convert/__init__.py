"""Foreign checkpoints: files of the GPT-SoVITS family, opened without running anything in them.

`reader.read(path)` opens a file and gives its tensors; `detect.identify(file)` says from the
tensors which model it is, and why.
"""
