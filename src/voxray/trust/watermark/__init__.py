"""The watermark: keyed, inaudible, below 7.5 kHz, leading to the record of who said what.

`embed` puts it in (numpy alone), `detect` finds it and reads the record's number.
"""

from __future__ import annotations
