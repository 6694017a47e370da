"""On which edges does pitch travel from text to waveform? Run: python examples/07_paths.py"""

from voxray.explain import trace
from voxray.explain.paths import UNITS, critical_paths

speech = trace("She keeps her old letters.", "nova", seed=1).spoken
paths = critical_paths(speech, "pitch")
for edge in paths.edges[:10]:
    print(f"{edge.effects['pitch']:6.2f} {UNITS['pitch']}  {edge.name}")
for point in paths.remove:
    others = sum(point.random) / len(point.random)
    print(f"{point.share:.0%} removed: {point.ranked:.2f}, random edges {others:.2f}")
paths.save("07_paths.json")
paths.save("07_paths.svg")
