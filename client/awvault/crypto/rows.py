"""Seals of single rows: journal, index cache and remote notes of one client.

Their keys are random and serve one client alone, so these seals need not
commit to their key. A row that is replaced gets a fresh nonce.

    nonce  = BLAKE2b-192(key, "row-nonce", random[32] || H_context(context)
                                                      || H_plaintext(plaintext))
    sealed = nonce[24] || XChaCha20-Poly1305(key, nonce, plaintext, AAD = context)
"""

from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

from awvault.crypto import labels
from awvault.crypto.hedge import Random, hedged
from awvault.crypto.keys import BootKey, IndexKey, RemoteKey
from awvault.errors import SealError

NONCE_BYTES: Final = 24
TAG_BYTES: Final = 16
OVERHEAD_BYTES: Final = NONCE_BYTES + TAG_BYTES


def seal_row(
    key: BootKey | IndexKey | RemoteKey,
    context: bytes,
    plaintext: bytes,
    random: Random,
) -> bytes:
    """Return `plaintext` sealed; it opens only with the same `context`."""
    raw = key.reveal()
    nonce = hedged(
        raw,
        labels.ROW_NONCE,
        context=context,
        plaintext=plaintext,
        random=random,
        size=NONCE_BYTES,
    )
    return nonce + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        plaintext, context, nonce, raw
    )


def open_row(
    key: BootKey | IndexKey | RemoteKey, context: bytes, sealed: bytes
) -> bytes:
    """Return what was sealed; raises the same `SealError` whatever is wrong."""
    opened = _open(key.reveal(), context, sealed)
    if opened is None:
        raise SealError("a row does not open: another key, or altered, or moved")
    return opened


def _open(key: bytes, context: bytes, sealed: bytes) -> bytes | None:
    if len(sealed) < OVERHEAD_BYTES:
        return None
    try:
        opened: bytes = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            sealed[NONCE_BYTES:], context, sealed[:NONCE_BYTES], key
        )
    except CryptoError:
        return None
    return opened
