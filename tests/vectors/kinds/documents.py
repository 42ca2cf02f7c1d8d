"""Chains of account documents: one for each rule, broken."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from awserver.encoding import lp, u8, u16, u32, u64
from awserver.records import AccountId, Head, RecordHash, Seq
from awvault.protocol.account import VerifiedAccount, verify_documents
from awvault.protocol.document import (
    AccountDocument,
    ClientEntry,
    Erasure,
    decode_document,
    hash_document,
)
from tests.helpers.owners import Owner
from tests.helpers.randomness import fixed
from tests.vectors.form import Fields, attempt, require_keys, unhex

NAME = "documents"

_FAILURE: Final = "document failure"


def _owner(username: str = "local") -> Owner:
    return Owner("documents", clients=2, username=username)


_OWNER: Final = _owner()
_STRANGER: Final = Owner("stranger")
_IDS: Final = sorted((_OWNER.client_id(0), _OWNER.client_id(1)))


def _head(seq: int, name: str = "record") -> Head:
    return Head(seq=Seq(seq), hash=RecordHash(fixed(f"{name} {seq}")))


@dataclass(frozen=True)
class Case:
    """A chain of documents, and what a reader must say to it."""

    name: str
    expect: str
    comment: str
    documents: list[bytes]
    extra: tuple[tuple[str, str], ...] = ()


def make() -> dict[str, Fields]:
    vectors: dict[str, Fields] = {}
    for cases in (_good(), _form(), _first(), _next(), _clients(), _lists(), _pins()):
        for case in cases:
            assert case.name not in vectors, case.name
            vectors[case.name] = _fields(case)
    return vectors


# -- chains that are in order


def _good() -> Iterator[Case]:
    yield Case("success", "success", "version 1", list(_OWNER.documents))
    owner = _with_life()
    yield Case(
        "success_life",
        "success",
        "a client added, a head, an erasure, a revocation with a new epoch",
        owner.documents,
    )
    owner = _owner()
    owner.sign(owner.next(username="alice", salt=fixed("remote", 16)))
    yield Case("success_named", "success", "local becomes alice", owner.documents)
    owner = _owner()
    entry = replace(owner.verified().document.clients[1], revoked=True)
    owner.sign(owner.next(clients=(owner.verified().document.clients[0], entry)))
    yield Case(
        "success_revoked_empty",
        "success",
        "a client revoked before its first record",
        owner.documents,
    )


def _with_life() -> Owner:
    owner = _owner()
    clients = owner.verified().document.clients
    owner.sign(owner.next(clients=(*clients, owner.entry(2, added=2))))
    first = _IDS[0]
    owner.sign(owner.next(heads=((first, _head(9)),)))
    erasure = Erasure(client_id=first, from_seq=Seq(2), to_seq=Seq(4))
    owner.sign(owner.next(erased=(erasure,)))
    document = owner.verified().document
    ended = tuple(
        replace(client, revoked=True, final=_head(9))
        if client.client_id == first
        else client
        for client in document.clients
    )
    owner.sign(owner.next_epoch(clients=ended), rotated=True)
    return owner


# -- the form of a document


def _form() -> Iterator[Case]:
    (good,) = _OWNER.documents
    document = _OWNER.verified().document

    def form(name: str, comment: str, data: bytes, expect: str = _FAILURE) -> Case:
        return Case(f"form_{name}", expect, comment, [data])

    yield form("empty", "no bytes at all", b"")
    yield form("magic", "another magic", b"AWSR" + good[4:])
    yield form("suite", "suite 2", good[:4] + b"\2" + good[5:], "unsupported suite")
    yield form("truncated", "the last byte is missing", good[:-1])
    yield form("truncated_body", "cut in the body", good[:100])
    yield form("extended", "one byte too many", good + b"\0")
    yield form(
        "signature_short",
        "a signature of 63 bytes",
        _sealed(document, lp(b"s" * 63, b"")),
        "signature failure",
    )
    yield form(
        "signature_long",
        "a signature of 65 bytes",
        _sealed(document, lp(b"s" * 65, b"")),
    )
    at = good.index(lp(b"local"))
    yield form(
        "username_long",
        "a username of 33 bytes",
        good[:at] + lp(b"a" * 33) + good[at + 9 :],
    )
    for name, username in [
        ("username_upper", "Local"),
        ("username_empty", ""),
        ("username_newline", "local\n"),
        ("username_other_letter", "caf\u00e9"),
    ]:
        yield form(
            name,
            f"the username {username.encode()!r}",
            _signed(replace(document, username=username)),
        )
    clients_at = (
        len(document.encode_body())
        - 8
        - sum(len(client.encode()) for client in document.clients)
    )
    yield form(
        "clients_too_many",
        "a count of 8193 clients",
        good[: clients_at - 4] + u32(8193) + good[clients_at:],
    )
    first = document.clients[0]
    standing_at = clients_at + len(first.encode()) - 1
    yield form(
        "standing",
        "a client of standing 3",
        good[:standing_at] + u8(3) + good[standing_at + 1 :],
    )
    yield form(
        "client_number",
        "client number 8192",
        good[:clients_at] + u16(8192) + good[clients_at + 2 :],
    )
    yield form(
        "clients_unordered",
        "client 1 before client 0",
        _signed(replace(document, clients=tuple(reversed(document.clients)))),
    )
    yield form(
        "clients_same_number",
        "two clients with number 0",
        _signed(
            replace(document, clients=(first, replace(document.clients[1], number=0)))
        ),
    )
    yield form(
        "version_huge",
        "version 2^32",
        good[:5] + u64(2**32) + good[13:],
    )
    yield form(
        "epoch_huge",
        "epoch 4096",
        good[:61] + u32(4096) + good[65:],
    )
    yield form(
        "heads_unordered",
        "heads in the wrong order",
        _signed(replace(document, heads=((_IDS[1], _head(1)), (_IDS[0], _head(1))))),
    )
    yield form(
        "heads_twice",
        "two heads of one client",
        _signed(replace(document, heads=((_IDS[0], _head(1)), (_IDS[0], _head(2))))),
    )
    yield form(
        "head_seq_huge",
        "a head at seq 2^63",
        _signed(replace(document, heads=((_IDS[0], _head(2**63)),))),
    )
    for name, comment, ranges in [
        ("erased_reversed", "a range that ends before it begins", [(4, 2)]),
        ("erased_unordered", "ranges in the wrong order", [(6, 7), (1, 2)]),
        ("erased_overlapping", "ranges that overlap", [(1, 4), (3, 6)]),
        ("erased_touching", "ranges that touch: they are one", [(1, 4), (5, 6)]),
    ]:
        erased = tuple(
            Erasure(client_id=_IDS[0], from_seq=Seq(first), to_seq=Seq(last))
            for first, last in ranges
        )
        yield form(name, comment, _signed(replace(document, erased=erased)))


def _sealed(document: AccountDocument, signatures: bytes) -> bytes:
    return document.encode_body() + signatures


def _signed(document: AccountDocument) -> bytes:
    return document.sign(_OWNER.ask(document.epoch))


# -- the first version


def _first() -> Iterator[Case]:
    document = _OWNER.first()

    def first(name: str, comment: str, **changes: Any) -> Case:
        data = _signed(replace(document, **changes))
        return Case(f"first_{name}", _FAILURE, comment, [data])

    yield Case("first_none", _FAILURE, "no document at all", [])
    yield first("version", "the first version is 2", version=2)
    yield first("version_zero", "the first version is 0", version=0)
    yield first("prev", "version 1 names one before it", prev=fixed("before"))
    yield first("no_clients", "version 1 names no client", clients=())
    yield first(
        "revoked",
        "version 1 has a revoked client",
        clients=(replace(document.clients[0], revoked=True), document.clients[1]),
    )
    yield first("heads", "version 1 has a head", heads=((_IDS[0], _head(1)),))
    yield first("suite_zero", "the oldest suite is 0", oldest_suite=0)
    yield Case(
        "first_suite_newer",
        "unsupported suite",
        "the oldest suite is 2",
        [_signed(replace(document, oldest_suite=2))],
    )
    yield first(
        "added_zero",
        "a client was added at version 0",
        clients=(replace(document.clients[0], added_version=0), document.clients[1]),
    )
    yield first(
        "added_later",
        "a client was added at version 2",
        clients=(replace(document.clients[0], added_version=2), document.clients[1]),
    )
    yield first(
        "label_epoch",
        "a label of an epoch to come",
        clients=(replace(document.clients[0], label_epoch=1), document.clients[1]),
    )
    yield first(
        "one_key_twice",
        "two clients with one key",
        clients=(document.clients[0], replace(document.clients[0], number=1)),
    )
    yield Case(
        "first_epoch",
        _FAILURE,
        "version 1 is of epoch 1",
        [replace(document, epoch=1).sign(_OWNER.ask())],
    )
    yield Case(
        "first_not_certified",
        _FAILURE,
        "the account id is not that of the signing key",
        [
            replace(document, signing_public=_STRANGER.ask().public).sign(
                _STRANGER.ask()
            )
        ],
    )
    yield Case(
        "first_signature",
        "signature failure",
        "signed by another key",
        [document.sign(_STRANGER.ask())],
    )
    yield Case(
        "first_second_signature",
        _FAILURE,
        "a second signature where none is due",
        [document.sign(_OWNER.ask(), _OWNER.ask())],
    )
    yield Case(
        "first_other_account",
        "wrong place",
        "a good document of another account",
        list(_STRANGER.documents),
    )


# -- what a version may change


def _after(
    name: str,
    expect: str,
    comment: str,
    change: Callable[[Owner], AccountDocument],
    *,
    owner: Owner | None = None,
    signed: Callable[[Owner, AccountDocument], bytes] | None = None,
) -> Case:
    owner = _owner() if owner is None else owner
    document = change(owner)
    data = (signed or (lambda owner, document: owner.signed(document)))(owner, document)
    return Case(name, expect, comment, [*owner.documents, data])


def _next() -> Iterator[Case]:
    def changed(name: str, comment: str, **changes: Any) -> Case:
        return _after(
            f"next_{name}", _FAILURE, comment, lambda owner: owner.next(**changes)
        )

    yield changed("version_skipped", "version 3 after 1", version=3)
    yield changed("version_repeated", "version 1 after 1", version=1)
    yield changed("prev", "it follows another version 1", prev=fixed("other"))
    yield changed("account", "of another account", account_id=_STRANGER.account_id)
    yield changed("suite_back", "the oldest suite goes back to 0", oldest_suite=0)
    yield _after(
        "next_suite_newer",
        "unsupported suite",
        "the oldest suite rises to 2",
        lambda owner: owner.next(oldest_suite=2),
    )
    yield _after(
        "next_username",
        _FAILURE,
        "alice becomes bob",
        lambda owner: owner.next(username="bob"),
        owner=_owner("alice"),
    )
    yield _after(
        "next_signing_key",
        _FAILURE,
        "another signing key within the epoch",
        lambda owner: owner.next(signing_public=_STRANGER.ask().public),
        signed=lambda _, document: document.sign(_STRANGER.ask()),
    )
    yield _after(
        "next_signature",
        "signature failure",
        "signed by another key",
        lambda owner: owner.next(),
        signed=lambda _, document: document.sign(_STRANGER.ask()),
    )
    yield _after(
        "next_second_signature",
        _FAILURE,
        "a second signature where none is due",
        lambda owner: owner.next(),
        signed=lambda owner, document: document.sign(owner.ask(), owner.ask()),
    )
    yield from _epochs()


def _epochs() -> Iterator[Case]:
    def rotated(owner: Owner, document: AccountDocument) -> bytes:
        return document.sign(owner.ask(1), owner.ask(0))

    def epoch(name: str, comment: str, **changes: Any) -> Case:
        return _after(
            f"epoch_{name}",
            _FAILURE,
            comment,
            lambda owner: owner.next_epoch(**changes),
            signed=rotated,
        )

    yield epoch("skipped", "epoch 2 after 0", epoch=2)
    yield epoch("keeps_salt", "a new epoch with the old salt", salt=_OWNER.salt(0))
    yield epoch(
        "keeps_login",
        "a new epoch with the old login key",
        login_public=_OWNER.first().login_public,
    )
    yield epoch(
        "keeps_blob",
        "a new epoch with the old keys",
        keys_blob_hash=_OWNER.first().keys_blob_hash,
    )
    yield _after(
        "epoch_keeps_signing_key",
        _FAILURE,
        "a new epoch with the old signing key",
        lambda owner: owner.next_epoch(signing_public=owner.ask(0).public),
        signed=lambda owner, document: document.sign(owner.ask(0), owner.ask(0)),
    )
    recovery = fixed("recovery login")
    owner = _owner()
    owner.sign(owner.next(recovery_login_public=recovery))
    yield _after(
        "epoch_keeps_recovery",
        _FAILURE,
        "a new epoch with the old recovery key",
        lambda owner: owner.next_epoch(recovery_login_public=recovery),
        owner=owner,
        signed=rotated,
    )
    yield _after(
        "epoch_without_old_signature",
        "signature failure",
        "a new epoch that the old key did not sign",
        lambda owner: owner.next_epoch(),
        signed=lambda owner, document: document.sign(owner.ask(1)),
    )
    yield _after(
        "epoch_other_old_signature",
        "signature failure",
        "a new epoch that a stranger signed in the old key's place",
        lambda owner: owner.next_epoch(),
        signed=lambda owner, document: document.sign(owner.ask(1), _STRANGER.ask()),
    )
    yield _after(
        "epoch_other_new_signature",
        "signature failure",
        "a new epoch that only the old key signed",
        lambda owner: owner.next_epoch(),
        signed=lambda owner, document: document.sign(owner.ask(0), owner.ask(0)),
    )
    owner = _owner()
    owner.sign(owner.next_epoch(), rotated=True)
    yield _after(
        "epoch_back",
        _FAILURE,
        "epoch 0 after 1",
        lambda owner: owner.next(
            epoch=0, signing_public=owner.ask(0).public, salt=owner.salt(0)
        ),
        owner=owner,
    )


# -- clients


def _clients() -> Iterator[Case]:
    a, b = _OWNER.first().clients

    def clients(
        name: str, comment: str, *entries: ClientEntry, owner: Owner | None = None
    ) -> Case:
        return _after(
            f"client_{name}",
            _FAILURE,
            comment,
            lambda owner: owner.next(clients=entries),
            owner=owner,
        )

    c = _OWNER.entry(2, added=2)
    yield clients("gone", "client 1 is gone", a)
    yield clients(
        "other_key", "client 1 has another key", a, replace(b, public=c.public)
    )
    yield clients(
        "other_added", "client 1 was added at version 2", a, replace(b, added_version=2)
    )
    yield clients(
        "added_before",
        "client 2 says it was added at 1",
        a,
        b,
        replace(c, added_version=1),
    )
    yield clients(
        "of_one_key",
        "client 2 has the key of client 1",
        a,
        b,
        replace(c, public=b.public),
    )
    owner = _owner()
    owner.sign(owner.next(clients=(a, b, replace(c, number=5))))
    number_three = replace(_OWNER.entry(3, added=3), number=3)
    yield clients(
        "number_below",
        "a new client with number 3, below 5",
        a,
        b,
        number_three,
        replace(c, number=5),
        owner=owner,
    )
    ended = replace(b, revoked=True, final=_head(4))
    for name, comment, entry in [
        ("readmitted", "a revoked client is one no more", b),
        ("end_later", "a revoked client ends later", replace(ended, final=_head(5))),
        (
            "end_other",
            "a revoked client ends with another record",
            replace(ended, final=_head(4, "other")),
        ),
        ("end_gone", "a revoked client has no end", replace(ended, final=None)),
    ]:
        owner = _owner()
        owner.sign(owner.next(clients=(a, ended)))
        yield clients(name, comment, a, entry, owner=owner)


# -- heads and erasures


def _lists() -> Iterator[Case]:
    def with_heads(*heads: tuple[int, Head]) -> Owner:
        owner = _owner()
        owner.sign(owner.next(heads=_heads(*heads)))
        return owner

    def changed(name: str, comment: str, owner: Owner, **changes: Any) -> Case:
        return _after(
            name, _FAILURE, comment, lambda owner: owner.next(**changes), owner=owner
        )

    yield changed(
        "head_back",
        "the head of a client goes back from 9 to 8",
        with_heads((0, _head(9))),
        heads=_heads((0, _head(8))),
    )
    yield changed(
        "head_gone",
        "the head of a client is gone",
        with_heads((0, _head(9)), (1, _head(2))),
        heads=_heads((0, _head(9))),
    )
    yield changed(
        "head_other_hash",
        "record 9 has another hash",
        with_heads((0, _head(9))),
        heads=_heads((0, _head(9, "other"))),
    )
    yield changed(
        "head_of_nobody",
        "a head of a client that the document does not name",
        _owner(),
        heads=((_STRANGER.client_id(), _head(1)),),
    )
    for name, comment, head in [
        ("head_after_end", "a head beyond the end of its client", _head(5)),
        ("head_other_end", "a head that is another end", _head(4, "other")),
    ]:
        clients = tuple(
            replace(client, revoked=True, final=_head(4))
            if client.client_id == _IDS[0]
            else client
            for client in _OWNER.first().clients
        )
        yield changed(name, comment, _owner(), clients=clients, heads=_heads((0, head)))
    for name, comment, ranges in [
        ("erased_gone", "an erasure is gone", []),
        ("erased_shrunk_front", "an erasure begins later", [(3, 6)]),
        ("erased_shrunk_back", "an erasure ends earlier", [(2, 5)]),
        ("erased_split", "an erasure has a hole", [(2, 3), (5, 6)]),
    ]:
        owner = _owner()
        owner.sign(owner.next(heads=_heads((0, _head(9))), erased=_ranges((2, 6))))
        yield changed(name, comment, owner, erased=_ranges(*ranges))
    yield changed(
        "erased_unknown",
        "records up to 10 erased, the head is 9",
        with_heads((0, _head(9))),
        erased=_ranges((2, 10)),
    )
    yield changed(
        "erased_of_nobody",
        "an erasure of a client without a head",
        _owner(),
        erased=_ranges((2, 3)),
    )
    owner = _owner()
    owner.sign(owner.next(heads=_heads((0, _head(9))), erased=_ranges((2, 3), (5, 6))))
    owner.sign(owner.next(erased=_ranges((1, 7))))
    yield Case(
        "erased_grown", "success", "two erasures become a larger one", owner.documents
    )


def _heads(*heads: tuple[int, Head]) -> tuple[tuple[Any, Head], ...]:
    return tuple((_IDS[client], head) for client, head in heads)


def _ranges(*ranges: tuple[int, int]) -> tuple[Erasure, ...]:
    return tuple(
        Erasure(client_id=_IDS[0], from_seq=Seq(first), to_seq=Seq(last))
        for first, last in ranges
    )


# -- pins


def _pins() -> Iterator[Case]:
    owner = _owner()
    owner.sign(owner.next())
    one, two = owner.documents
    pin = f"2 {hash_document(two).hex()}"
    yield Case(
        "pin_kept", "success", "version 2 was pinned", [one, two], (("pin", pin),)
    )
    yield Case(
        "pin_rolled_back",
        "rollback",
        "version 2 was pinned, version 1 is the newest",
        [one],
        (("pin", pin),),
    )
    other = owner.signed(
        replace(decode_document(two).document, salt=fixed("other", 16))
    )
    yield Case(
        "pin_forked",
        _FAILURE,
        "another version 2 was pinned",
        [one, other],
        (("pin", pin),),
    )
    yield Case(
        "pin_zero",
        _FAILURE,
        "version 0 was pinned, which never was",
        [one],
        (("pin", f"0 {bytes(32).hex()}"),),
    )


def check(fields: Fields) -> None:
    chain = [key for key in fields if key.startswith("document ")]
    assert chain == [f"document {n}" for n in range(1, len(chain) + 1)]
    hashes = {f"hash {n}" for n in range(1, len(chain) + 1)}
    require_keys(fields, {"account id", *chain}, {"pin", *hashes})
    documents = [unhex(fields, key) for key in chain]

    def verify() -> VerifiedAccount:
        account = verify_documents(AccountId(unhex(fields, "account id")), documents)
        if "pin" in fields:
            version, digest = fields["pin"].split()
            account.check_pin((int(version), bytes.fromhex(digest)))
        return account

    account = attempt(fields, verify)

    if account is None:
        return
    assert [digest.hex() for digest in account.hashes] == [
        fields[f"hash {n}"] for n in range(1, len(chain) + 1)
    ]
    # What is decoded says all that was there, and in one way only.
    for data in documents:
        signed = decode_document(data)
        assert signed.document.encode_body() == signed.body
    # From any version that was verified before, the rest is verified too.
    for known in range(1, len(documents)):
        before = verify_documents(account.document.account_id, documents[:known])
        assert before.extended_by(documents[known:]) == account


def _fields(case: Case) -> Fields:
    documents = {
        f"document {n}": data.hex() for n, data in enumerate(case.documents, start=1)
    }
    hashes = {}
    if case.expect == "success":
        hashes = {
            f"hash {n}": hash_document(data).hex()
            for n, data in enumerate(case.documents, start=1)
        }
    return {
        "expect": case.expect,
        "comment": case.comment,
        "account id": _OWNER.account_id.hex(),
        **dict(case.extra),
        **hashes,
        **documents,
    }
