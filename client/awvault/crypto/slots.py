"""The master key in its slots, the ring of epoch keys, a client's sealed label.

All are committing seals. The context of a slot and of the ring names the
account, the kind, the epoch, and the salt of the passphrase where whoever seals
it knows it:

    context = account_id[16] || kind u8 || epoch u32 || salt[16]
"""

from collections.abc import Mapping
from typing import Final

from awserver.documents import EPOCHS_MAX
from awserver.encoding import u8, u32
from awserver.records import AccountId, ClientId
from awvault.crypto import labels
from awvault.crypto.committing import OVERHEAD_BYTES, open_sealed, seal
from awvault.crypto.hedge import Random
from awvault.crypto.keys import (
    EpochKey,
    MasterKey,
    PassphraseKek,
    RecoveryKek,
    RingKek,
)
from awvault.crypto.passphrase import SALT_BYTES
from awvault.errors import EpochError, MalformedError

SLOT_BYTES: Final = OVERHEAD_BYTES + MasterKey.SIZE
CLIENT_LABEL_BYTES: Final = 128
"""Every label is padded to this, so that its length tells nothing."""

CLIENT_LABEL_TEXT_BYTES_MAX: Final = CLIENT_LABEL_BYTES - 1
SEALED_CLIENT_LABEL_BYTES: Final = OVERHEAD_BYTES + CLIENT_LABEL_BYTES

_COUNT_BYTES: Final = 4
_EPOCH_BYTES: Final = 4
_ENTRY_BYTES: Final = _EPOCH_BYTES + EpochKey.SIZE
RING_BYTES_MAX: Final = _COUNT_BYTES + EPOCHS_MAX * _ENTRY_BYTES
SEALED_RING_BYTES_MAX: Final = OVERHEAD_BYTES + RING_BYTES_MAX

_PASSPHRASE: Final = 1
_RECOVERY: Final = 2
_RING: Final = 3
_NO_SALT: Final = bytes(SALT_BYTES)

Ring = Mapping[int, EpochKey]
"""Epoch keys by their epoch: from 0 on, none missing."""


def _context(account_id: AccountId, kind: int, epoch: int, salt: bytes) -> bytes:
    return account_id + u8(kind) + u32(epoch) + salt


def seal_passphrase_slot(
    kek: PassphraseKek,
    master: MasterKey,
    *,
    account_id: AccountId,
    epoch: int,
    salt: bytes,
    random: Random,
) -> bytes:
    """Return the master key, sealed under the passphrase."""
    context = _context(account_id, _PASSPHRASE, epoch, salt)
    return seal(kek.reveal(), labels.SLOT_PASSPHRASE, context, master.reveal(), random)


def open_passphrase_slot(
    kek: PassphraseKek, slot: bytes, *, account_id: AccountId, epoch: int, salt: bytes
) -> MasterKey:
    """Return the master key; raises `SealError` (a wrong passphrase, or altered)."""
    context = _context(account_id, _PASSPHRASE, epoch, salt)
    return MasterKey(open_sealed(kek.reveal(), labels.SLOT_PASSPHRASE, context, slot))


def seal_recovery_slot(
    kek: RecoveryKek,
    master: MasterKey,
    *,
    account_id: AccountId,
    epoch: int,
    random: Random,
) -> bytes:
    """Return the master key, sealed under the recovery key.

    Not bound to the passphrase's salt: a change of the passphrase must not
    need the recovery key.
    """
    context = _context(account_id, _RECOVERY, epoch, _NO_SALT)
    return seal(kek.reveal(), labels.SLOT_RECOVERY, context, master.reveal(), random)


def open_recovery_slot(
    kek: RecoveryKek, slot: bytes, *, account_id: AccountId, epoch: int
) -> MasterKey:
    """Return the master key; raises `SealError`."""
    context = _context(account_id, _RECOVERY, epoch, _NO_SALT)
    return MasterKey(open_sealed(kek.reveal(), labels.SLOT_RECOVERY, context, slot))


def encode_ring(ring: Ring) -> bytes:
    """Return a ring's bytes: count u32, then (epoch u32, key[32]) from 0 upwards."""
    if sorted(ring) != list(range(len(ring))) or not 1 <= len(ring) <= EPOCHS_MAX:
        raise ValueError(f"a ring has all epochs from 0, at most {EPOCHS_MAX}")
    entries = (u32(epoch) + ring[epoch].reveal() for epoch in sorted(ring))
    return u32(len(ring)) + b"".join(entries)


def decode_ring(data: bytes) -> dict[int, EpochKey]:
    """Read a ring; raises `MalformedError` or `EpochError`."""
    count = int.from_bytes(data[:_COUNT_BYTES], "little")
    size = _COUNT_BYTES + count * _ENTRY_BYTES
    if not 1 <= count <= EPOCHS_MAX or len(data) != size:
        raise MalformedError(f"{len(data)} bytes are no ring of {count} epoch keys")
    ring: dict[int, EpochKey] = {}
    for expected in range(count):
        at = _COUNT_BYTES + expected * _ENTRY_BYTES
        key_at = at + _EPOCH_BYTES
        epoch = int.from_bytes(data[at:key_at], "little")
        if epoch != expected:
            raise EpochError(f"the ring's next epoch is {expected}, got {epoch}")
        ring[epoch] = EpochKey(data[key_at : at + _ENTRY_BYTES])
    return ring


def seal_ring(
    kek: RingKek,
    ring: Ring,
    *,
    account_id: AccountId,
    epoch: int,
    salt: bytes,
    random: Random,
) -> bytes:
    """Return the ring of epoch keys, sealed under the master key."""
    context = _context(account_id, _RING, epoch, salt)
    return seal(kek.reveal(), labels.RING, context, encode_ring(ring), random)


def open_ring(
    kek: RingKek, sealed: bytes, *, account_id: AccountId, epoch: int, salt: bytes
) -> dict[int, EpochKey]:
    """Return the ring, which ends with `epoch`.

    Raises `SealError`; `MalformedError` or `EpochError` for a ring that was
    sealed with epochs out of order, twice, missing, or beyond `epoch`.
    """
    context = _context(account_id, _RING, epoch, salt)
    ring = decode_ring(open_sealed(kek.reveal(), labels.RING, context, sealed))
    if len(ring) != epoch + 1:
        raise EpochError(
            f"the ring ends with epoch {len(ring) - 1},"
            f" the account document names {epoch}"
        )
    return ring


def seal_client_label(
    epoch_key: EpochKey,
    text: str,
    *,
    account_id: AccountId,
    client_id: ClientId,
    random: Random,
) -> bytes:
    """Return what a person calls a client, sealed; cut to 127 bytes of UTF-8."""
    cut = text.encode("utf-8", "replace")[:CLIENT_LABEL_TEXT_BYTES_MAX]
    whole = cut.decode("utf-8", "ignore").encode()
    plaintext = (u8(len(whole)) + whole).ljust(CLIENT_LABEL_BYTES, b"\0")
    context = account_id + client_id
    return seal(epoch_key.reveal(), labels.CLIENT_LABEL, context, plaintext, random)


def open_client_label(
    epoch_key: EpochKey, sealed: bytes, *, account_id: AccountId, client_id: ClientId
) -> str:
    """Return what a person calls a client; raises `SealError`, `MalformedError`."""
    context = account_id + client_id
    opened = open_sealed(epoch_key.reveal(), labels.CLIENT_LABEL, context, sealed)
    end = 1 + opened[0] if opened else 0
    if len(opened) != CLIENT_LABEL_BYTES or end > len(opened) or any(opened[end:]):
        raise MalformedError("the label of a client is not in its form")
    try:
        return opened[1:end].decode()
    except UnicodeDecodeError:
        raise MalformedError("the label of a client is not UTF-8") from None
