"""Content Credentials (C2PA) in wav, mp3 and flac files: who made it, by what, on whose consent.

`attach` signs a file in place, whole or not at all; `read` says what a file claims, who signed it,
and whether the claim fits the file. Needs the extra `provenance` (c2pa-python); without it files
carry the watermark alone, unless the policy says `credentials: on`.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..synthesis import Synthesis
from . import certificate
from .errors import Refused

FORMATS = (".wav", ".mp3", ".flac")
LABEL = "org.voxray.synthesis"
AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
TRUSTED, UNTRUSTED = "signingCredential.trusted", "signingCredential.untrusted"
EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"  # what the certificate is for, as C2PA wants it


@dataclass(frozen=True)
class Claim:
    """What a file says about itself. `broken` says why that counts for nothing."""

    title: str
    signer: str
    made_by_ai: bool
    ours: bool
    details: dict[str, Any]
    broken: str = ""

    @property
    def record(self) -> int | None:
        """The number of the record that it names."""
        text = str(self.details.get("record", ""))
        try:
            return int(text.removeprefix("r-"), 16) if text.startswith("r-") else None
        except ValueError:
            return None

    def report(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "signer": self.signer,
            "made_by_ai": self.made_by_ai,
            "ours": self.ours,
            "broken": self.broken,
            "details": self.details,
        }


def installed() -> bool:
    """Whether credentials can be written and read here."""
    return find_spec("c2pa") is not None


def attach(path: Path, synthesis: Synthesis, details: dict[str, Any]) -> None:
    """Sign a file that was just written; on failure the file is taken away again."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        _sign(path, part, _manifest(path.name, synthesis, details))
        os.replace(part, path)
    except Refused:
        path.unlink(missing_ok=True)
        raise
    finally:
        part.unlink(missing_ok=True)


def read(path: str | Path) -> Claim | None:
    """A file's credentials; None where it has none, or where they cannot be read here."""
    if not installed() or Path(path).suffix.lower() not in FORMATS:
        return None
    import c2pa

    try:
        reader = c2pa.Reader.try_create(str(path), context=c2pa.Context(settings=_our_root()))
        if reader is None:
            return None
        with reader:
            store = json.loads(reader.json())
    except (c2pa.C2paError, ValueError) as error:
        return Claim("", "", False, False, {}, " ".join(str(error).split()) or "unreadable")
    return _claim(store)


def _our_root() -> Any:
    """Trust nobody but the owner of this place."""
    import c2pa

    trust = {"user_anchors": certificate.certificate().root, "trust_config": EMAIL_PROTECTION}
    return c2pa.Settings.from_dict({"trust": trust, "verify": {"verify_trust": True}})


def _claim(store: dict[str, Any]) -> Claim:
    manifest = store.get("manifests", {}).get(store.get("active_manifest", ""), {})
    assertions = {
        item.get("label"): item.get("data", {}) for item in manifest.get("assertions", [])
    }
    actions = next(
        (data.get("actions", []) for label, data in assertions.items() if "c2pa.actions" in label),
        [],
    )
    faults = {status.get("code", "") for status in store.get("validation_status", [])} - {UNTRUSTED}
    results = store.get("validation_results", {}).get("activeManifest", {})
    passed = {status.get("code") for status in results.get("success", [])}
    return Claim(
        title=str(manifest.get("title", "")),
        signer=str(manifest.get("signature_info", {}).get("issuer", "")),
        made_by_ai=any(action.get("digitalSourceType") == AI for action in actions),
        ours=not faults and TRUSTED in passed,
        details=dict(assertions.get(LABEL, {})),
        broken=", ".join(sorted(faults)),
    )


def _manifest(name: str, synthesis: Synthesis, details: dict[str, Any]) -> dict[str, Any]:
    from .. import __version__

    return {
        "claim_generator_info": [{"name": "voxray", "version": __version__}],
        "title": name,
        "assertions": [
            {
                "label": "c2pa.actions",
                "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": AI}]},
            },
            {
                "label": LABEL,
                "data": {
                    "made_by": "AI",
                    "model": synthesis.model,
                    "model_hash": synthesis.model_hash,
                    "seed": synthesis.seed,
                    "record": synthesis.record,
                    **details,
                },
            },
        ],
    }


def _sign(source: Path, target: Path, manifest: dict[str, Any]) -> None:
    import c2pa

    owner = certificate.certificate()
    try:
        info = c2pa.C2paSignerInfo(b"ed25519", owner.chain.encode(), owner.key.encode(), None)
        with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(manifest)) as builder:
            builder.sign_file(source, target, signer)
    except (c2pa.C2paError, OSError) as error:
        said = " ".join(str(error).split())
        raise Refused("credentials-broken", f"cannot sign {source.name}: {said}") from error
