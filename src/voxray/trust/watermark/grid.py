"""The watermark's grid: time slots of 48 ms x bands of 156 Hz below 7.5 kHz, at every sample rate.

A cell is louder or softer than it was by `STRENGTH_DB`: +1 or -1, [SLOTS, BANDS], repeated with a
period of 1.008 s. All lies below 7.5 kHz, so that it outlives resampling to 16 kHz.
"""

from __future__ import annotations

FRAME_SECONDS = 0.016  # hop of the analysis; windows are twice as long
BIN_HZ = 31.25
FIRST_BIN, BINS_PER_BAND, BANDS = 10, 5, 46  # 312.5 .. 7500 Hz
BINS = BINS_PER_BAND * BANDS
SLOT_FRAMES, SLOTS = 3, 21
PERIOD = SLOT_FRAMES * SLOTS  # frames
CELLS = SLOTS * BANDS
STRENGTH_DB = 2.3


def hop_of(rate: int) -> int:
    """Samples between frames at a sample rate."""
    if not 16_000 <= rate <= 96_000:
        raise ValueError(f"the watermark needs 16000 to 96000 samples a second, not {rate}")
    return round(rate * FRAME_SECONDS)
