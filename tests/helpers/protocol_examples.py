"""The worked examples of docs/protocol, computed by the code.

Each function returns the values of one page's example by their names there:
bytes as hex, text and numbers as they are. The keys of one page go on in the
next, so a whole account can be followed by hand.
"""

from collections.abc import Callable
from typing import Final

from awserver.encoding import lp, u8, u32, u64
from awserver.records import ZERO_HASH, Seq, account_id_of, client_id_of
from awvault.columns.compress import pack
from awvault.crypto import labels
from awvault.crypto.envelope import seal_record
from awvault.crypto.hashing import derive, hash_bytes
from awvault.crypto.keys import (
    ClientKey,
    EpochKey,
    JournalKey,
    MasterKey,
    Passphrase,
    PassphraseKey,
    derive_account_signing_key,
    derive_boot_key,
    derive_index_key,
    derive_local_key,
    derive_login_key,
    derive_passphrase_kek,
    derive_ring_kek,
)
from awvault.crypto.padding import FLOOR_LOCAL_BYTES, pad
from awvault.crypto.passphrase import (
    STANDARD,
    Profile,
    bound_salt,
    derive_passphrase_key,
)
from awvault.crypto.rows import seal_row
from awvault.crypto.slots import seal_client_label, seal_passphrase_slot, seal_ring
from awvault.journal import EventRow, encode_event
from awvault.protocol.account import KeysBlob, Keystore, seal_keystore
from awvault.protocol.document import (
    NO_KEY,
    AccountDocument,
    ClientEntry,
    hash_document,
    hash_keys_blob,
)

Values = dict[str, str]

TYPED: Final = "\ufb01ne weather, no wind"
USERNAME: Final = "local"
CLIENT_LABEL: Final = "desk"
SALT: Final = bytes(range(0x10))
MASTER: Final = MasterKey(bytes(range(0x20, 0x40)))
EPOCH_KEY: Final = EpochKey(bytes(range(0x40, 0x60)))
CLIENT_KEY: Final = ClientKey(bytes(range(0x60, 0x80)))
JOURNAL_KEY: Final = JournalKey(bytes(range(0x80, 0xA0)))
BOOT_RANDOM: Final = bytes(range(0xA0, 0xC0))
SIGNING_KEY: Final = derive_account_signing_key(MASTER)
ACCOUNT_ID: Final = account_id_of(SIGNING_KEY.public)
CLIENT_ID: Final = client_id_of(CLIENT_KEY.public)
RANDOM: Final = bytes(range(0xC0, 0xE0))

PAYLOAD: Final = bytes.fromhex(
    "013200000088a17380a1649200c400a16e920902a16290a17a919301020"
    "1a16907a174cf000612967524bc00a17098010303010000000100020080008400"
    "1e81c184c61e2d00010b7b22617070223a2261227d"
)
"""The example of docs/protocol/payload.md."""


def draw(size: int) -> bytes:
    """Return the same "random" bytes each time: examples are repeatable."""
    return RANDOM[:size]


def passphrase_key(profile: Profile = STANDARD) -> PassphraseKey:
    return derive_passphrase_key(
        Passphrase(TYPED), username=USERNAME, salt=SALT, profile=profile
    )


def keys() -> Values:
    """The hierarchy, from what is typed to each key."""
    key = passphrase_key()
    login = derive_login_key(key)
    return {
        "typed": TYPED.encode().hex(),
        "passphrase": Passphrase(TYPED).reveal().hex(),
        "username": USERNAME,
        "salt": SALT.hex(),
        "bound salt": bound_salt(USERNAME, SALT).hex(),
        "passphrase key": key.reveal().hex(),
        "login seed": login.reveal().hex(),
        "login public": login.public.hex(),
        "passphrase kek": derive_passphrase_kek(key).reveal().hex(),
        "master key": MASTER.reveal().hex(),
        "account signing seed": SIGNING_KEY.reveal().hex(),
        "account signing public": SIGNING_KEY.public.hex(),
        "account id": ACCOUNT_ID.hex(),
        "ring kek": derive_ring_kek(MASTER).reveal().hex(),
        "epoch key": EPOCH_KEY.reveal().hex(),
        "client seed": CLIENT_KEY.reveal().hex(),
        "client public": CLIENT_KEY.public.hex(),
        "client id": CLIENT_ID.hex(),
        "local key": derive_local_key(EPOCH_KEY, CLIENT_ID).reveal().hex(),
        "journal key": JOURNAL_KEY.reveal().hex(),
        "boot random": BOOT_RANDOM.hex(),
        "boot key": derive_boot_key(JOURNAL_KEY, BOOT_RANDOM).reveal().hex(),
        "index key": derive_index_key(JOURNAL_KEY).reveal().hex(),
    }


def _slot() -> bytes:
    return seal_passphrase_slot(
        derive_passphrase_kek(passphrase_key()),
        MASTER,
        account_id=ACCOUNT_ID,
        epoch=0,
        salt=SALT,
        random=draw,
    )


def sealing() -> Values:
    """A committing seal step by step: the passphrase slot."""
    kek = derive_passphrase_kek(passphrase_key()).reveal()
    context = ACCOUNT_ID + u8(1) + u32(0) + SALT
    hedge_context = hash_bytes(labels.CONTEXT, lp(b"slot-pass") + context)
    hedge_plaintext = hash_bytes(labels.PLAINTEXT, MASTER.reveal())
    salt = derive(kek, labels.HEDGE, RANDOM + hedge_context + hedge_plaintext, size=24)
    context_hash = hash_bytes(labels.CONTEXT, context)
    both = derive(kek, labels.SLOT_PASSPHRASE, salt + context_hash, size=64)
    sealed = _slot()
    assert sealed.startswith(salt + both[32:])
    return {
        "key": kek.hex(),
        "label": "slot-pass",
        "context": context.hex(),
        "plaintext": MASTER.reveal().hex(),
        "random": RANDOM.hex(),
        "H_context(LP(label) || context)": hedge_context.hex(),
        "H_plaintext(plaintext)": hedge_plaintext.hex(),
        "salt": salt.hex(),
        "H_context(context)": context_hash.hex(),
        "sealing key": both[:32].hex(),
        "commitment": both[32:].hex(),
        "associated data": (context + salt + both[32:]).hex(),
        "ciphertext": sealed[56:].hex(),
        "sealed": sealed.hex(),
    }


def account_document() -> Values:
    """Version 1 of an account with one client, and its keys blob and keystore."""
    ring = {0: EPOCH_KEY}
    sealed_ring = seal_ring(
        derive_ring_kek(MASTER),
        ring,
        account_id=ACCOUNT_ID,
        epoch=0,
        salt=SALT,
        random=draw,
    )
    blob = KeysBlob(passphrase_slot=_slot(), recovery_slot=b"", ring=sealed_ring)
    label = seal_client_label(
        EPOCH_KEY, CLIENT_LABEL, account_id=ACCOUNT_ID, client_id=CLIENT_ID, random=draw
    )
    document = AccountDocument(
        version=1,
        prev=bytes(32),
        account_id=ACCOUNT_ID,
        epoch=0,
        signing_public=SIGNING_KEY.public,
        oldest_suite=1,
        username=USERNAME,
        salt=SALT,
        login_public=derive_login_key(passphrase_key()).public,
        recovery_login_public=NO_KEY,
        keys_blob_hash=hash_keys_blob(blob.encode()),
        clients=(
            ClientEntry(
                number=0,
                public=CLIENT_KEY.public,
                added_version=1,
                label_epoch=0,
                sealed_label=label,
            ),
        ),
        heads=(),
        erased=(),
    )
    body = document.encode_body()
    signed = document.sign(SIGNING_KEY)
    keystore = Keystore(
        client_number=0,
        client_key=CLIENT_KEY,
        journal_key=JOURNAL_KEY,
        pin=(1, hash_document(signed)),
        ring=ring,
    )
    return {
        "sealed ring": sealed_ring.hex(),
        "keys blob": blob.encode().hex(),
        "keys blob hash": hash_keys_blob(blob.encode()).hex(),
        "client label": CLIENT_LABEL,
        "sealed client label": label.hex(),
        "body bytes": str(len(body)),
        "signature": SIGNING_KEY.sign(body).hex(),
        "document": signed.hex(),
        "document hash": hash_document(signed).hex(),
        "keystore": seal_keystore(ACCOUNT_ID, keystore, epoch=0, random=draw).hex(),
    }


def record() -> Values:
    """The first record of a log; its payload is the example of payload.md."""
    packed = pack(PAYLOAD, compression=False)
    made = seal_record(
        EPOCH_KEY,
        CLIENT_KEY,
        account_id=ACCOUNT_ID,
        client_id=CLIENT_ID,
        epoch=0,
        seq=Seq(0),
        prev=ZERO_HASH,
        plaintext=pad(packed, floor=FLOOR_LOCAL_BYTES),
        random=draw,
    )
    header = made.header
    h0 = header.h0()
    context_hash = hash_bytes(labels.CONTEXT, h0)
    both = derive(
        EPOCH_KEY.reveal(), labels.RECORD_SEAL, header.salt + context_hash, size=64
    )
    assert both[32:] == header.commitment
    assert made.body is not None
    return {
        "packed": packed.hex(),
        "padded bytes": str(FLOOR_LOCAL_BYTES),
        "random": RANDOM.hex(),
        "H0": h0.hex(),
        "salt": header.salt.hex(),
        "H_context(H0)": context_hash.hex(),
        "sealing key": both[:32].hex(),
        "commitment": header.commitment.hex(),
        "body": made.body.hex(),
        "body hash": header.body_hash.hex(),
        "header": made.header_bytes.hex(),
        "signature": made.signature.hex(),
        "record hash": made.hash.hex(),
    }


def journal() -> Values:
    """One row of the journal: an event in a row of its own."""
    key = derive_boot_key(JOURNAL_KEY, BOOT_RANDOM)
    plaintext = encode_event(
        EventRow(
            id=7,
            revision=0,
            bucket_id=1,
            start=1_709_287_280_000_000,
            duration=2_000_000,
            stored_at=-1,
            flags=0,
            text=b'{"app":"a"}',
        )
    )
    context = CLIENT_ID + u64(3) + u64(5)
    sealed = seal_row(key, context, plaintext, draw)
    return {
        "boot key": key.reveal().hex(),
        "jid": "3",
        "write": "5",
        "context": context.hex(),
        "plaintext": plaintext.hex(),
        "random": RANDOM.hex(),
        "nonce": sealed[:24].hex(),
        "sealed": sealed.hex(),
    }


PAGES: Final[dict[str, Callable[[], Values]]] = {
    "keys.md": keys,
    "sealing.md": sealing,
    "account-document.md": account_document,
    "record.md": record,
    "journal-and-index.md": journal,
}
