"""Take out one attention head after the other; which changes most? Run: python examples/06_without_a_head.py"""

from voxray import steer, tts

text = "She keeps her old letters."
plain = tts(text, "nova", seed=1)
models = tts.pipeline().models
changed = {}
for layer in range(models.gpt.config.n_layer):
    for head in range(models.gpt.config.n_head):
        edit = steer.HeadGain(site=f"gpt.blocks.{layer}.attn.z", head=head, gain=0.0)
        made = tts(text, "nova", seed=1, edits=edit)
        pairs = list(zip(plain.tokens, made.tokens))
        changed[f"{layer}.{head}"] = sum(a != b for a, b in pairs) / len(pairs)
for name, share in sorted(changed.items(), key=lambda item: -item[1]):
    print(f"head {name}: {share:.0%} of the tokens are others without it")
