"""The owner's certificate for Content Credentials, made on first use: a root and, signed by it, a
certificate for claims (C2PA wants no self-signed one), both Ed25519, PEM, valid for ten years.

Owners who have a certificate put its chain in `credentials.pem` and its key in `credentials.key`.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from . import place
from .errors import Refused

CHAIN, KEY = "credentials.pem", "credentials.key"
YEARS = 10
ORGANISATION = "voxray (self-signed)"


@dataclass(frozen=True)
class Certificate:
    """PEM texts: the chain, leaf first, and the leaf's private key."""

    chain: str
    key: str

    @property
    def root(self) -> str:
        """The root's PEM: who signed the leaf."""
        begin = "-----BEGIN CERTIFICATE-----"
        return begin + self.chain.split(begin)[-1]


def certificate() -> Certificate:
    """The owner's; made if there is none."""
    try:
        chain, key = place.current().file(CHAIN), place.current().file(KEY)
        if not (chain.exists() and key.exists()):
            made = _made()
            place.write_secret(key, made.key.encode())
            place.write_secret(chain, made.chain.encode())
        return Certificate(chain.read_text("ascii"), key.read_text("ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise Refused("records-unavailable", f"cannot keep the certificate: {error}") from error


def _made() -> Certificate:
    root, leaf = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    root_name, leaf_name = _name("root"), _name("owner")
    authority = _builder(root_name, root_name, root, root, authority=True).sign(root, None)
    claims = _builder(leaf_name, root_name, leaf, root, authority=False).sign(root, None)
    chain = b"".join(item.public_bytes(Encoding.PEM) for item in (claims, authority))
    key = leaf.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Certificate(chain.decode(), key.decode())


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, f"voxray {common}"),
        ]
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: Ed25519PrivateKey,
    issuer_key: Ed25519PrivateKey,
    *,
    authority: bool,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    usage = dict.fromkeys(
        ("content_commitment key_encipherment data_encipherment key_agreement encipher_only "
         "decipher_only").split(), False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=not authority,
                key_cert_sign=authority,
                crl_sign=authority,
                **usage,
            ),
            critical=True,
        )
    )
    if authority:
        return builder
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    return builder.add_extension(purpose, critical=False)
