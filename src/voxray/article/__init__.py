"""The textbook form of the system as a whole model: raw text through a GPT-2 and alignment search to speech.

`text` reads, `bundle` is the folder of weights, `pipeline` speaks (the engine calls it like any other).
It is trained by `voxray.train.article`.
"""
