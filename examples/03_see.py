"""Which phoneme does each token look at? Run: python examples/03_see.py"""

from voxray.explain import trace

opened = trace("She keeps her old letters.", "nova", seed=1)
passage = opened.passages[0]
layers, heads, tokens, phonemes = passage.attention.shape
print(f"{layers} layers of {heads} heads; {tokens} tokens look at {phonemes} phonemes")
symbols = [opened.synthesis.phonemes.items[i].symbol for i in passage.passage.items]
for layer, head in opened.models.gpt.config.guided_heads:
    looked_at = passage.attention[layer, head].argmax(-1)
    print(f"head {layer}.{head}:", " ".join(symbols[place] for place in looked_at))
