"""What secure sums take from the package ``cryptography``: X25519, ChaCha20, ChaCha20-Poly1305, HKDF."""

from __future__ import annotations

from typing import Any

import numpy as np

from steepest.federated.errors import FederationError

Ring = np.ndarray[Any, np.dtype[np.uint64]]


class SecureError(FederationError):
    """A secure sum that cannot be had, or a message that does not fit; the message says what is wrong."""


def _guest() -> Any:
    try:
        import cryptography
    except ImportError as error:
        raise FederationError(
            f"secure sums need the package cryptography, which is not here ({error}): "
            "pip install 'steepest[federated]'."
        ) from None
    return cryptography


def pair(private: bytes) -> bytes:
    """The public key of an X25519 private key of 32 bytes."""
    _guest()
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agreed(private: bytes, public: bytes, what: bytes) -> bytes:
    """32 bytes that two parties know from each other's public keys, for one purpose.

    Raises:
        SecureError: The public key is none.
    """
    _guest()
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    try:
        secret = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise SecureError("a public key is no point of X25519 that can be used.") from None
    return HKDF(SHA256(), 32, None, b"steepest secure sum: " + what).derive(secret)


def sealed(key: bytes, text: bytes, about: bytes) -> bytes:
    """Bytes that only who has the key can read or change. A key is used once, so the nonce is zero."""
    _guest()
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return ChaCha20Poly1305(key).encrypt(bytes(12), text, about)


def opened(key: bytes, data: bytes, about: bytes) -> bytes:
    """What was sealed.

    Raises:
        SecureError: It was changed on the way, or is about something else.
    """
    _guest()
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    try:
        return ChaCha20Poly1305(key).decrypt(bytes(12), data, about)
    except InvalidTag:
        raise SecureError("a sealed message was changed on its way, or is meant for somebody else.") from None


def stream(key: bytes, size: int, bits: int) -> Ring:
    """A mask: whole numbers below ``2 ** bits`` from ChaCha20. A key makes one mask."""
    _guest()
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

    width = bytes_of(bits)
    raw = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(width * size))
    return np.frombuffer(raw, f"<u{width}").astype(np.uint64) & np.uint64(2**bits - 1)


def bytes_of(bits: int) -> int:
    """Bytes that a masked number is sent in."""
    return 4 if bits <= 32 else 8
