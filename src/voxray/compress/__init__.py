"""Smaller models: heads and layers pruned by what they are worth, an LSTM that a GPT taught, ONNX.

`ranking` orders heads, `pruning` takes them out for good, `student` teaches, `onnx_export` writes a chain that
runs without torch and `onnx_runner` is the reference that runs it.
"""
