"""How good is it? Judges that are strangers to the training, the figures, and the harness.

`judges` listen, `metrics` count, `sets` choose texts and speakers, `harness` runs text x voice x
seed through the engine and scores; `report` holds the goals. Everything heavy is optional: the
extra `eval` and the weights that `python -m voxray.evaluate.fetch` puts together.
"""
