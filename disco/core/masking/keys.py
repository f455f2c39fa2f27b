"""Keys between members: agreed on by X25519, derived by HKDF-SHA256, sealed with ChaCha20-Poly1305.

Source: RFC 7748 (X25519), RFC 5869 (HKDF), RFC 8439 (ChaCha20-Poly1305), all from the package cryptography.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from disco.core.masking.words import Keys
from disco.core.names import ParticipantID, TaskID
from disco.errors import ProtocolViolation

#: Bytes of keys, public and secret, of seeds and of hashes.
KEY_BYTES = 32
#: What sealing adds to a plain text.
TAG_BYTES = 16

#: With whatever secret, a key of low order gives zeros.
_ANY_SECRET = bytes(KEY_BYTES)
#: Every key seals one message only.
_NONCE = bytes(12)


def public_key(secret: bytes) -> bytes:
    """Return the X25519 public key of a secret one."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def is_usable(public: bytes) -> bool:
    """Tell whether secrets can be agreed on with a public key: it is 32 bytes, and not of low order."""
    try:
        _agreed(_ANY_SECRET, public)
    except ProtocolViolation:
        return False
    return True


def seal_of(seed: bytes) -> bytes:
    """Return what a member tells of a seed before it shares it: it binds, and 32 random bytes stay hidden."""
    return hashlib.sha256(b"disco masking seed" + seed).digest()


def transcript(task: TaskID, round_: int, attempt: int, members: Mapping[ParticipantID, Keys]) -> bytes:
    """Return 32 bytes that name this attempt and everybody's keys in it.

    Every key is derived from it, so members who were told different rosters have no key in common.
    """
    hashed = hashlib.sha256(f"disco masking\n{task}\n{round_}\n{attempt}\n".encode())
    for name, keys in members.items():
        raw = name.encode()
        hashed.update(len(raw).to_bytes(4, "big") + raw + keys.mask_key + keys.share_key + keys.seal)
    return hashed.digest()


def mask_seed(secret: bytes, public: bytes, transcript: bytes) -> bytes:
    """Return the seed of the mask between two members, the same from either side.

    Raises:
        ProtocolViolation: the public key is none that a member can have.
    """
    return _derived(_agreed(secret, public), b"mask" + transcript, b"")


class Sealing:
    """Seals one member's shares for another, and opens them.

    Args:
        secret: one's own secret share key.
        transcript: of this attempt.
        group_secret: what only the members know, if anything: without it, nobody takes a member's place.
    """

    def __init__(self, secret: bytes, transcript: bytes, group_secret: bytes) -> None:
        self._secret = secret
        self._transcript = transcript
        self._group_secret = group_secret

    def seal(self, plain: bytes, public: bytes, sender: ParticipantID, receiver: ParticipantID) -> bytes:
        """Seal `plain` for the receiver, who has `public`.

        Raises:
            ProtocolViolation: the public key is none that a member can have.
        """
        return self._cipher(public, sender, receiver).encrypt(_NONCE, plain, self._transcript)

    def open(self, sealed: bytes, public: bytes, sender: ParticipantID, receiver: ParticipantID) -> bytes:
        """Open what the sender, who has `public`, sealed.

        Raises:
            ProtocolViolation: it was not sealed by that sender, for this receiver, in this attempt.
        """
        try:
            return self._cipher(public, sender, receiver).decrypt(_NONCE, sealed, self._transcript)
        except InvalidTag as error:
            raise ProtocolViolation(f"the shares from {sender[:8]} cannot be opened") from error

    def _cipher(self, public: bytes, sender: ParticipantID, receiver: ParticipantID) -> ChaCha20Poly1305:
        about = b"share" + self._transcript + sender.encode() + b"\0" + receiver.encode()
        return ChaCha20Poly1305(_derived(_agreed(self._secret, public), about, self._group_secret))


def _agreed(secret: bytes, public: bytes) -> bytes:
    try:
        return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:  # of low order: the result would not depend on the secret
        raise ProtocolViolation("a member's public key cannot be used") from error


def _derived(agreed: bytes, about: bytes, salt: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt or None, b"disco " + about).derive(agreed)
