"""Journal and index rows: one key for many, a hedged nonce for each.

    sealed = nonce[24] || XChaCha20-Poly1305(key, nonce, plaintext, context)

A row's key is random and never leaves the client, so it need not commit. A
192-bit nonce that also depends on key, context and content is never used for
two contents, even where the generator repeats itself.
"""

from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

from awvault.crypto import labels
from awvault.crypto.hedge import hedged
from awvault.crypto.keys import BootKey, IndexKey, Random
from awvault.errors import SealError

NONCE_BYTES: Final = 24
TAG_BYTES: Final = 16

_LABELS: Final = {BootKey: labels.JOURNAL, IndexKey: labels.INDEX}


def seal_row(
    key: BootKey | IndexKey, context: bytes, plaintext: bytes, random: Random
) -> bytes:
    """Seal a row so that it opens only under `key` and `context`."""
    raw = key.reveal()
    nonce = hedged(
        raw, _LABELS[type(key)], context, plaintext, random, size=NONCE_BYTES
    )
    return nonce + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        plaintext, context, nonce, raw
    )


def open_row(key: BootKey | IndexKey, context: bytes, sealed: bytes) -> bytes:
    """Return a row's plaintext, or raise `SealError`."""
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        raise _failed()
    try:
        return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            sealed[NONCE_BYTES:], context, sealed[:NONCE_BYTES], key.reveal()
        )
    except CryptoError:
        raise _failed() from None


def _failed() -> SealError:
    return SealError("row does not open: another key or place, or it was altered")
