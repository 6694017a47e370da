"""`voxray info`: versions, the model and the machine, for bug reports."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .common import MODEL


def info(
    model: Annotated[Path | None, typer.Option(help=MODEL)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Print versions, the model and the machine."""
    facts = _facts(model)
    if as_json:
        sys.stdout.write(json.dumps(facts, ensure_ascii=False, indent=1) + "\n")
        return
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        sys.stdout.write(f"{name:<{width}}  {value}\n")


def _facts(model: Path | None) -> dict[str, Any]:
    import torch

    from .. import __version__
    from ..engine import tts
    from ..packaged import builtin_models
    from ..voice import builtin_names
    from .common import own_names, voices_folder

    facts: dict[str, Any] = {
        "voxray": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
    }
    try:
        pipeline = tts.pipeline(model)
    except (ValueError, OSError) as error:
        if model is not None:
            raise
        facts["model"] = f"none: {error}"
    else:
        facts.update(_model_facts(pipeline))
    facts["built-in models"] = ", ".join(builtin_models()) or "none"
    facts["built-in voices"] = ", ".join(builtin_names()) or "none"
    facts["your voices"] = ", ".join(own_names()) or "none"
    facts["kept in"] = str(voices_folder())
    return facts


def _model_facts(pipeline: Any) -> dict[str, Any]:
    models = pipeline.models
    sizes = [
        f"{name} {sum(p.numel() for p in getattr(models, name).parameters()) / 1e6:.1f} M"
        for name in ("gpt", "generator", "content", "quantiser")
    ]
    return {
        "model": f"{models.name} ({', '.join(sizes)})",
        "sample rate": f"{models.generator.config.sample_rate} Hz",
        "text front end": pipeline.text.fingerprint,
    }
