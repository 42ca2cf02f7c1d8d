"""From a passphrase and what is stored, to the keys; and the keys blob's form."""

from dataclasses import replace
from functools import partial
from typing import Final

from awserver.encoding import lp
from awserver.records import AccountId, ClientId
from awvault.crypto.keys import MasterKey, Passphrase, derive_passphrase_kek
from awvault.crypto.passphrase import Profile, derive_passphrase_key
from awvault.crypto.slots import Ring, seal_passphrase_slot
from awvault.protocol.account import (
    KeysBlob,
    create_account,
    open_account,
    open_keystore,
    verify_documents,
)
from awvault.protocol.document import decode_document, hash_document, hash_keys_blob
from tests.helpers.owners import CHEAP, PASSPHRASE, Owner
from tests.helpers.randomness import Seeded, fixed
from tests.vectors.form import Fields, attempt, require_keys, unhex

NAME = "accounts"

_TRIPWIRE: Final = Profile(memory_kib=1, passes=1)
"""With it Argon2 does not run: what fails otherwise, failed before."""


def make() -> dict[str, Fields]:
    new = create_account(
        Passphrase(PASSPHRASE),
        username="local",
        client_label="laptop",
        profile=CHEAP,
        random=Seeded("account"),
    )
    account = verify_documents(new.account_id, [new.document])
    ring = open_account(Passphrase(PASSPHRASE), account, new.keys_blob, profile=CHEAP)
    good: Fields = {
        "expect": "success",
        "comment": "a new account, and the keystore of its first client",
        "passphrase": PASSPHRASE,
        "memory kib": str(CHEAP.memory_kib),
        "passes": str(CHEAP.passes),
        "account id": new.account_id.hex(),
        "client id": new.client_id.hex(),
        "document": new.document.hex(),
        "document hash": new.document_hash.hex(),
        "keys blob": new.keys_blob.hex(),
        "keystore": new.keystore.hex(),
        "ring": ring[0].reveal().hex(),
    }
    vectors = {
        "success": good,
        "wrong_passphrase": {
            **_without(good),
            "expect": "wrong passphrase",
            "comment": "another passphrase",
            "passphrase": "incorrect horse battery staple",
        },
        "trailing_space": {
            **_without(good),
            "expect": "wrong passphrase",
            "comment": "nothing is stripped: one space too many in front",
            "passphrase": " " + PASSPHRASE,
        },
    }
    blob = KeysBlob.decode(new.keys_blob)
    for name, expect, comment, data in [
        ("blob_other", "document failure", "a blob the document does not name",
         replace(blob, passphrase_slot=bytes(104)).encode()),
        ("blob_magic", "malformed", "another magic", b"AWSD" + new.keys_blob[4:]),
        ("blob_suite", "unsupported suite", "suite 2",
         new.keys_blob[:4] + b"\2" + new.keys_blob[5:]),
        ("blob_truncated", "malformed", "the last byte is missing", new.keys_blob[:-1]),
        ("blob_extended", "malformed", "one byte too many", new.keys_blob + b"\0"),
        ("blob_empty", "malformed", "no bytes at all", b""),
        ("blob_no_slot", "malformed", "no passphrase slot",
         b"AWKB\1" + lp(b"", b"", blob.ring)),
        ("blob_recovery_short", "malformed", "a recovery slot of 103 bytes",
         b"AWKB\1" + lp(blob.passphrase_slot, bytes(103), blob.ring)),
    ]:  # fmt: skip
        vectors[name] = {
            **_without(good),
            "expect": expect,
            "comment": f"{comment}; refused before Argon2 runs",
            "keys blob": data.hex(),
        }
    return vectors | _owned()


def _owned() -> dict[str, Fields]:
    """Blobs that the owner signed, and that are wrong inside."""
    owner = Owner("accounts")
    blob = KeysBlob.decode(owner.keys_blob())
    vectors = {}
    for name, expect, comment, forged in [
        (
            "slot_altered",
            "wrong passphrase",
            "an altered slot, in a blob that the document names",
            replace(blob, passphrase_slot=bytes(104)),
        ),
        (
            "other_master_key",
            "document failure",
            "the slot holds a master key that is not the one that signs",
            replace(
                blob,
                passphrase_slot=_slot_with_other_master(owner),
            ),
        ),
        (
            "ring_altered",
            "seal failure",
            "an altered ring",
            replace(blob, ring=bytes(112)),
        ),
        (
            "recovery_unannounced",
            "document failure",
            "a recovery slot, and no recovery login in the document",
            replace(blob, recovery_slot=blob.passphrase_slot),
        ),
    ]:
        data = forged.encode()
        document = owner.signed(
            replace(owner.first(), keys_blob_hash=hash_keys_blob(data))
        )
        vectors[name] = {
            "expect": expect,
            "comment": comment,
            "passphrase": PASSPHRASE,
            "memory kib": str(CHEAP.memory_kib),
            "passes": str(CHEAP.passes),
            "account id": owner.account_id.hex(),
            "document": document.hex(),
            "keys blob": data.hex(),
        }
    return vectors


def _slot_with_other_master(owner: Owner) -> bytes:
    key = derive_passphrase_key(
        Passphrase(PASSPHRASE), username="local", salt=owner.salt(), profile=CHEAP
    )
    return seal_passphrase_slot(
        derive_passphrase_kek(key),
        MasterKey(fixed("other master")),
        account_id=owner.account_id,
        epoch=0,
        salt=owner.salt(),
        random=Seeded("other master"),
    )


def _without(good: Fields) -> Fields:
    left_out = {"ring", "keystore", "client id", "document hash"}
    return {key: value for key, value in good.items() if key not in left_out}


def check(fields: Fields) -> None:
    require_keys(
        fields,
        {"passphrase", "memory kib", "passes", "account id", "document", "keys blob"},
        {"ring", "keystore", "client id", "document hash"},
    )
    profile = Profile(
        memory_kib=int(fields["memory kib"]), passes=int(fields["passes"])
    )
    if fields["comment"].endswith("refused before Argon2 runs"):
        profile = _TRIPWIRE
    account_id = AccountId(unhex(fields, "account id"))
    document = unhex(fields, "document")
    account = verify_documents(account_id, [document])

    ring: Ring | None = attempt(
        fields,
        partial(
            open_account,
            Passphrase(fields["passphrase"]),
            account,
            unhex(fields, "keys blob"),
            profile=profile,
        ),
    )

    if ring is None:
        return
    assert ring[0].reveal() == unhex(fields, "ring")
    assert hash_document(document) == unhex(fields, "document hash")
    assert decode_document(document).hash == account.pin[1]
    keystore = open_keystore(
        ring[0],
        account_id,
        ClientId(unhex(fields, "client id")),
        unhex(fields, "keystore"),
    )
    account.check_pin(keystore.pin)
    assert keystore.client_key.client_id in account.clients
    assert keystore.ring == ring
