"""Whether edits fit a model: unknown sites name their nearest, heads and widths are counted.

In: `Edits` and a `Bundle`. Out: nothing, or one ValueError that says which edit, and what to do. `warnings`
says what edits that fit will not reach.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..notes import Note
from ..sites import sites
from .edits import Concept, Edit, Edits, Emphasis, HeadGain, Prosody, Repetition

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..voice import Voice

SPEAKER = "speaker"  # not a site of the running model: the vector that a voice brings
PITCH_SITE = "generator.decoder.f0"


def known_sites(models: Bundle) -> list[str]:
    """Sites that an edit may name."""
    parts = {"gpt": models.gpt, "generator": models.generator}
    unused = ("generator.speaker.", "generator.posterior.", "generator.reference.")
    return [SPEAKER, *(name for name in sites(parts) if not name.startswith(unused))]


def check(edits: Edits, models: Bundle) -> None:
    """ValueError if anything does not fit."""
    if edits.model and edits.model != models.name:
        raise ValueError(
            f"these edits were made for the model {edits.model!r}, not {models.name!r}"
        )
    known = known_sites(models)
    for number, edit in enumerate(edits.edits, start=1):
        try:
            check_one(edit, models, known)
        except ValueError as error:
            raise ValueError(f"edit {number} ({edit.kind}): {error}") from error


def warnings(edits: Edits, models: Bundle, voice: Voice) -> list[str]:
    """What the edits will not reach of this voice: a moved speaker vector leaves the memory as it is."""
    looks_up = bool(getattr(models.generator.config.prior, "memory_width", 0))
    if not looks_up or voice.memory is None:
        return []
    return [
        Note.of("concept-memory", concept=repr(edit.name), voice=repr(voice.name))
        for edit in edits.edits
        if isinstance(edit, Concept) and edit.site == SPEAKER
    ]


def check_one(edit: Edit, models: Bundle, known: Sequence[str]) -> None:
    """ValueError if one edit does not fit."""
    if edit.word is not None and not models.gpt.config.guided_heads and acts_while_reading(edit):
        raise ValueError(
            f"{models.name!r} has no guided heads to tell when a word is read: leave `word` out"
        )
    if isinstance(edit, HeadGain):
        _check_head_gain(edit, models, known)
    elif isinstance(edit, Emphasis) and edit.heads is not None:
        _check_heads(edit.heads, models)
    elif isinstance(edit, Repetition):
        _check_heads(edit.heads, models)
    elif isinstance(edit, Prosody) and edit.semitones and PITCH_SITE not in known:
        raise ValueError(f"{models.name!r} has no pitch to set: its decoder takes no F0")
    elif isinstance(edit, Concept):
        _check_concept(edit, models, known)


def acts_while_reading(edit: Edit) -> bool:
    """Whether it acts in the GPT on the tokens of a word, which only guided heads can tell."""
    return isinstance(edit, (HeadGain, Concept)) and edit.site.startswith("gpt.")


def check_site(name: str, known: Sequence[str]) -> None:
    """ValueError with the nearest names, if there is no such site."""
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; docs/sites.md lists them"
    raise ValueError(f"no site named {name!r}{hint}")


def heads_at(name: str, models: Bundle) -> int:
    """How many heads stand at an attention's site."""
    part, _, path = name.partition(".")
    return getattr(models, part).get_submodule(path.rpartition(".")[0]).heads


def width_at(name: str, models: Bundle) -> int | None:
    """How wide a site's vectors are; None: found out when it runs."""
    generator = models.generator.config
    if name == SPEAKER:
        return generator.speaker.speaker_width
    last = name.rsplit(".", 1)[-1]
    if name.startswith("gpt.") and last in ("embed", "resid", "mlp", "z"):
        return models.gpt.config.width
    prior = generator.prior
    return {"generator.prior.mean": prior.latent_channels,
            "generator.prior.content": prior.hidden,
            "generator.prior.joint": prior.hidden,
            "generator.prior.memory.read": prior.memory_width or None,
            "generator.decoder.latents": prior.latent_channels,
            "generator.codes": prior.input_channels}.get(name)  # fmt: skip


def _check_head_gain(edit: HeadGain, models: Bundle, known: Sequence[str]) -> None:
    check_site(edit.site, known)
    if not edit.site.endswith(".attn.z"):
        raise ValueError(f"{edit.site} is not where heads come out: name an attn.z site")
    count = heads_at(edit.site, models)
    if edit.head >= count:
        raise ValueError(f"{edit.site} has heads 0 to {count - 1}, not {edit.head}")
    if edit.steps is not None and not edit.site.startswith("gpt."):
        raise ValueError("only the GPT goes in steps: name a word instead")


def _check_heads(heads: Sequence[tuple[int, int]], models: Bundle) -> None:
    layers, count = models.gpt.config.n_layer, models.gpt.config.n_head
    for layer, head in heads:
        if not (0 <= layer < layers and 0 <= head < count):
            raise ValueError(
                f"no head {layer}.{head}: the GPT has {layers} layers of {count} heads"
            )


def _check_concept(edit: Concept, models: Bundle, known: Sequence[str]) -> None:
    check_site(edit.site, known)
    wide = width_at(edit.site, models)
    if edit.head is not None:
        if not edit.site.endswith(".attn.z"):
            raise ValueError(f"{edit.site} has no heads: leave `head` out")
        count = heads_at(edit.site, models)
        if edit.head >= count:
            raise ValueError(f"{edit.site} has heads 0 to {count - 1}, not {edit.head}")
        wide = None if wide is None else wide // count
    if wide is not None and len(edit.direction) != wide:
        raise ValueError(
            f"the direction {edit.name!r} has {len(edit.direction)} numbers, {edit.site} has {wide}: "
            "it was learnt at another site or with another model"
        )
