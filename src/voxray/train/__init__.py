"""Training: data preparation, losses and the loops of the three stages (content, generator, gpt)."""
