"""An account that lived: named, with more clients, other secrets and heads."""

from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Final

from awserver.records import AccountId, Head, RecordHash, Seq
from awvault.crypto.keys import ClientKey, Passphrase, RecoveryKey
from awvault.crypto.passphrase import Profile
from awvault.crypto.slots import open_client_label
from awvault.protocol.account import (
    OpenedAccount,
    create_account,
    open_keys,
    verify_documents,
)
from awvault.protocol.edits import (
    AddClient,
    ChangePassphrase,
    ClaimUsername,
    Intent,
    SetRecoveryKey,
)
from tests.helpers.owners import CHEAP
from tests.helpers.randomness import Seeded, fixed
from tests.vectors.form import Fields, attempt, require_keys, unhex

NAME = "edits"

_FIRST: Final = "correct horse battery staple"
_SECOND: Final = "another horse, another battery"
_WORDS: Final = RecoveryKey(fixed("edits recovery"))
_NEW_WORDS: Final = RecoveryKey(fixed("edits new recovery"))


@dataclass
class _Life:
    """The versions of one account, and the blob of each."""

    account_id: AccountId
    documents: list[bytes]
    blobs: list[bytes]
    random: Seeded = field(default_factory=lambda: Seeded("edits life"))

    def take(self, intent: Intent, passphrase: str, *seqs: int) -> None:
        account = verify_documents(self.account_id, self.documents)
        opened = open_keys(
            Passphrase(passphrase), account, self.blobs[-1], profile=CHEAP
        )
        heads = {
            client.client_id: Head(
                seq=Seq(seq), hash=RecordHash(fixed(f"edits {client.number} {seq}"))
            )
            for client, seq in zip(account.document.clients, seqs, strict=False)
        }
        edit = intent.run(opened, heads=heads, profile=CHEAP, random=self.random)
        self.documents.append(edit.document)
        self.blobs.append(edit.keys_blob or self.blobs[-1])


def _life() -> _Life:
    new = create_account(
        Passphrase(_FIRST),
        username="local",
        client_label="laptop",
        profile=CHEAP,
        random=Seeded("edits"),
    )
    life = _Life(
        account_id=new.account_id, documents=[new.document], blobs=[new.keys_blob]
    )
    phone, desk = (ClientKey(fixed(f"edits {name}")) for name in ("phone", "desk"))
    life.take(
        ClaimUsername(username="alice", passphrase=Passphrase(_FIRST), recovery=_WORDS),
        _FIRST,
        4,
    )
    life.take(AddClient(client=phone, label="phone"), _FIRST, 4)
    life.take(ChangePassphrase(passphrase=Passphrase(_SECOND)), _FIRST, 6, 0)
    life.take(AddClient(client=desk, label="Schreibtisch, groß"), _SECOND, 6, 3)
    life.take(SetRecoveryKey(recovery=_NEW_WORDS), _SECOND, 9, 3, 1)
    return life


def make() -> dict[str, Fields]:
    life = _life()
    vectors = {
        "success": _given(
            life, 6, "success", "a name, two clients, a passphrase, a recovery key"
        ),
        "named": _given(
            life, 2, "success", "a local account took a name", passphrase=_FIRST
        ),
        "client_added": _given(
            life, 3, "success", "a second client", passphrase=_FIRST
        ),
        "recovered": {
            **_given(life, 6, "success", "opened by the recovery key"),
            "recovery key": _NEW_WORDS.reveal().hex(),
        },
        "recovered_after_change": {
            **_given(life, 4, "success", "the slot of the recovery key outlived it"),
            "recovery key": _WORDS.reveal().hex(),
        },
        "old_passphrase": _given(
            life,
            6,
            "wrong passphrase",
            "the passphrase of version 3",
            passphrase=_FIRST,
        ),
        "old_recovery_key": {
            **_given(life, 6, "wrong recovery key", "the recovery key of version 5"),
            "recovery key": _WORDS.reveal().hex(),
        },
        "no_recovery_key": {
            **_given(life, 1, "wrong recovery key", "there is none in version 1"),
            "recovery key": _WORDS.reveal().hex(),
        },
        "old_blob": {
            **_given(life, 4, "document failure", "the keys blob of version 3"),
            "keys blob": life.blobs[2].hex(),
        },
        "newer_blob": {
            **_given(life, 3, "document failure", "the keys blob of version 4"),
            "keys blob": life.blobs[3].hex(),
        },
    }
    for fields in vectors.values():
        if "recovery key" in fields:
            for key in ("passphrase", "memory kib", "passes"):
                del fields[key]
        if fields["expect"] == "success":
            fields.update(_found(fields))
    return vectors


def _given(
    life: _Life, version: int, expect: str, comment: str, *, passphrase: str = _SECOND
) -> Fields:
    documents = {
        f"document {number}": document.hex()
        for number, document in enumerate(life.documents[:version], start=1)
    }
    return {
        "expect": expect,
        "comment": comment,
        "passphrase": passphrase,
        "memory kib": str(CHEAP.memory_kib),
        "passes": str(CHEAP.passes),
        "account id": life.account_id.hex(),
        **documents,
        "keys blob": life.blobs[version - 1].hex(),
    }


def check(fields: Fields) -> None:
    documents = {key for key in fields if key.startswith("document ")}
    by_passphrase = {"passphrase", "memory kib", "passes"}
    by_recovery_key = {"recovery key"}
    require_keys(
        fields,
        {"account id", "document 1", "keys blob"}
        | (by_recovery_key if "recovery key" in fields else by_passphrase),
        documents
        | {"username", "ring"}
        | {key for key in fields if key.startswith(("client ", "label ", "head "))},
    )

    opened = attempt(fields, partial(_opened, fields))

    if opened is not None:
        found = _found(fields)
        assert found == {key: fields[key] for key in found}
        numbers = {
            key for key in fields if key.startswith(("client ", "label ", "head "))
        }
        assert numbers <= set(found)


def _opened(fields: Fields) -> OpenedAccount:
    documents = []
    for number in count(1):
        if f"document {number}" not in fields:
            break
        documents.append(unhex(fields, f"document {number}"))
    account = verify_documents(AccountId(unhex(fields, "account id")), documents)
    secret: Passphrase | RecoveryKey
    if "recovery key" in fields:
        secret = RecoveryKey(unhex(fields, "recovery key"))
        profile = Profile(memory_kib=1, passes=1)
    else:
        secret = Passphrase(fields["passphrase"])
        profile = Profile(
            memory_kib=int(fields["memory kib"]), passes=int(fields["passes"])
        )
    return open_keys(secret, account, unhex(fields, "keys blob"), profile=profile)


def _found(fields: Fields) -> Fields:
    opened = _opened(fields)
    document = opened.account.document
    found = {
        "username": document.username,
        "ring": b"".join(
            opened.ring[epoch].reveal() for epoch in sorted(opened.ring)
        ).hex(),
    }
    heads = dict(document.heads)
    for client in document.clients:
        found[f"client {client.number}"] = client.client_id.hex()
        found[f"label {client.number}"] = open_client_label(
            opened.ring[client.label_epoch],
            client.sealed_label,
            account_id=document.account_id,
            client_id=client.client_id,
        )
        if client.client_id in heads:
            head = heads[client.client_id]
            found[f"head {client.number}"] = f"{head.seq} {head.hash.hex()}"
    return found
