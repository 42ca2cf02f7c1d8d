"""A record, offered to a reader of its client's log."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from awserver.records import (
    H0_BYTES,
    HEADER_BYTES,
    ZERO_HASH,
    AccountId,
    Head,
    RecordHash,
    SealedRecord,
    Seq,
    client_id_of,
    hash_body,
    signed_bytes,
)
from awvault.crypto import labels
from awvault.crypto.envelope import decode_record, seal_record
from awvault.crypto.keys import ClientKey, EpochKey
from awvault.protocol.document import Erasure
from awvault.protocol.log import VerifiedLog
from tests.helpers.owners import head_of, resign
from tests.helpers.randomness import fixed
from tests.vectors.form import Fields, attempt, require_keys, same, unhex
from tests.vectors.kinds.seals import BETWEEN, between, flip, for_two_keys

NAME = "records"

_ACCOUNT: Final = AccountId(fixed("record account", 16))
_CLIENT: Final = ClientKey(fixed("record client"))
_RING: Final = [EpochKey(fixed(f"record epoch {n}")) for n in range(2)]
_RANDOM: Final = fixed("record random")


def _record(
    plaintext: bytes,
    after: SealedRecord | None,
    *,
    epoch: int = 0,
    key: EpochKey | None = None,
    client: ClientKey = _CLIENT,
    account: AccountId = _ACCOUNT,
) -> SealedRecord:
    return seal_record(
        key or _RING[epoch],
        client,
        account_id=account,
        client_id=client.client_id,
        epoch=epoch,
        seq=Seq(0 if after is None else after.header.seq + 1),
        prev=ZERO_HASH if after is None else after.hash,
        plaintext=plaintext,
        random=lambda _: _RANDOM,
    )


_FIRST: Final = _record(b"the first record", None)
_SECOND: Final = _record(b"the second record", _FIRST)
_THIRD: Final = _record(b"the third record", _SECOND, epoch=1)
_WHOLE: Final = _SECOND.encode()


@dataclass(frozen=True)
class Case:
    """One record, and the reader that it is offered to."""

    name: str
    expect: str
    comment: str
    record: bytes
    head: SealedRecord | None = _FIRST
    log_epoch: int = 0
    ring: int = 2
    extra: tuple[tuple[str, str], ...] = ()


def make() -> dict[str, Fields]:
    vectors = {
        "success": _success("the second record of a log", _SECOND, _FIRST),
        "success_first": _success("the first record of a log", _FIRST, None),
        "success_next_epoch": _success(
            "the first record of a new epoch", _THIRD, _SECOND
        ),
        "success_empty": _success("an empty plaintext", _record(b"", _FIRST), _FIRST),
    }
    for cases in (_flips(), _lengths(), _signed_again(), _places(), _ends()):
        for case in cases:
            assert case.name not in vectors, case.name
            vectors[case.name] = _fields(case)
    return vectors


def _flips() -> Iterator[Case]:
    for field, at, expect in [
        ("magic", 0, "malformed"),
        ("suite", 4, "unsupported suite"),
        ("account", 5, "wrong place"),
        ("client", 21, "wrong place"),
        ("epoch", 37, "signature failure"),
        ("seq", 41, "gap"),
        ("prev", 49, "broken chain"),
        ("salt", 81, "signature failure"),
        ("commitment", 105, "signature failure"),
        ("body_length", 137, "malformed"),
        ("body_hash", 141, "malformed"),
        ("signature_r", 173, "signature failure"),
        ("signature_s", 205, "signature failure"),
        ("body", 237, "malformed"),
        ("tag", len(_WHOLE) - 1, "malformed"),
    ]:
        comment = f"one bit of byte {at} is flipped"
        yield Case(f"flip_{field}", expect, comment, flip(_WHOLE, at))


def _lengths() -> Iterator[Case]:
    yield Case("empty", "malformed", "no bytes at all", b"")
    yield Case("magic_alone", "malformed", "only the magic", _WHOLE[:4])
    yield Case(
        "truncated_header", "malformed", "cut in the header", _WHOLE[: HEADER_BYTES - 1]
    )
    yield Case("truncated_signature", "malformed", "cut in the signature", _WHOLE[:236])
    yield Case("truncated_body", "malformed", "the last byte is missing", _WHOLE[:-1])
    yield Case("extended", "malformed", "one byte too many", _WHOLE + b"\0")
    yield Case(
        "body_too_long",
        "malformed",
        "the header names a body of 1 MiB and 1 byte",
        _WHOLE[:137] + (2**20 + 1).to_bytes(4, "little") + _WHOLE[141:],
    )


def _signed_again() -> Iterator[Case]:
    """Changed by who holds the client's key, and not the epoch's."""
    assert _SECOND.body is not None
    other = fixed("other")

    def again(name: str, expect: str, comment: str, **changes: Any) -> Case:
        record = resign(_CLIENT, _SECOND, **changes)
        return Case(
            f"signed_{name}", expect, f"signed again: {comment}", record.encode()
        )

    yield again("epoch", "seal failure", "another epoch", epoch=1)
    yield again("salt", "seal failure", "another salt", salt=fixed("other", 24))
    yield again("commitment", "seal failure", "another commitment", commitment=other)
    yield again("body_hash", "malformed", "another body hash", body_hash=other)
    yield again("body_length", "malformed", "another body length", body_bytes=1)
    yield again("body", "seal failure", "another body", body=flip(_SECOND.body, 0))
    yield again(
        "tag",
        "seal failure",
        "another tag",
        body=flip(_SECOND.body, len(_SECOND.body) - 1),
    )
    yield again("body_empty", "seal failure", "no body, not even a tag", body=b"")
    moved = resign(_CLIENT, _FIRST, seq=Seq(1), prev=_FIRST.hash)
    yield Case(
        "signed_seq", "seal failure", "signed again: another place", moved.encode()
    )
    account = _record(b"x", _FIRST, account=AccountId(fixed("other", 16)))
    yield Case(
        "signed_account",
        "seal failure",
        "signed again: sealed in another account",
        resign(_CLIENT, account, account_id=_ACCOUNT).encode(),
    )
    client = _record(b"x", _FIRST, client=ClientKey(fixed("second client")))
    yield Case(
        "signed_client",
        "seal failure",
        "signed again: sealed by another client",
        resign(_CLIENT, client, client_id=_CLIENT.client_id).encode(),
    )
    yield Case(
        "wrong_epoch_key",
        "seal failure",
        "sealed under another key than the epoch's",
        _record(b"x", _FIRST, key=EpochKey(fixed("other"))).encode(),
    )
    yield Case(
        "wrong_client_key",
        "signature failure",
        "signed by another key than the client's",
        resign(ClientKey(fixed("other client")), _SECOND).encode(),
    )
    yield from _two_keys()


def _two_keys() -> Iterator[Case]:
    """One body that XChaCha20-Poly1305 opens under the keys of both epochs."""
    for name, expect, comment, epochs in [
        ("two_keys_committed", "success", "under the key it commits to", (0, 1)),
        ("two_keys_other", "seal failure", "under the other key", (1, 0)),
    ]:
        keys = [_RING[epoch].reveal() for epoch in epochs]
        h0 = _SECOND.header_bytes[:H0_BYTES]
        sealed = for_two_keys(
            keys[0], keys[1], labels.RECORD_SEAL, h0, fixed("double", 24), 4
        )
        record = resign(
            _CLIENT,
            _SECOND,
            body=sealed[56:],
            salt=sealed[:24],
            commitment=sealed[24:56],
        )
        yield Case(
            name,
            expect,
            f"a body that opens under two keys, {comment}",
            record.encode(),
        )


def _places() -> Iterator[Case]:
    yield Case(
        "other_account",
        "wrong place",
        "a good record of another account, by the same client key",
        _record(b"x", _FIRST, account=AccountId(fixed("other", 16))).encode(),
    )
    yield Case(
        "other_client",
        "wrong place",
        "a good record of another client",
        _record(b"x", None, client=ClientKey(fixed("second client"))).encode(),
        head=None,
    )
    yield Case("gap", "gap", "a record is missing before it", _THIRD.encode())
    yield Case("repeated", "gap", "the record that was accepted last", _FIRST.encode())
    yield Case(
        "other_past",
        "broken chain",
        "it follows another first record",
        _record(b"x", _record(b"another first record", None)).encode(),
    )
    yield Case(
        "first_with_past",
        "broken chain",
        "a first record that names one before it",
        resign(_CLIENT, _FIRST, prev=RecordHash(fixed("past"))).encode(),
        head=None,
    )
    yield Case(
        "epoch_unknown",
        "epoch failure",
        "an epoch that no account document names",
        _record(b"x", _FIRST, epoch=1).encode(),
        ring=1,
    )
    yield Case(
        "epoch_left_behind",
        "epoch failure",
        "epoch 0, after a record of epoch 1",
        _record(b"x", _THIRD).encode(),
        head=_THIRD,
        log_epoch=1,
    )


def _ends() -> Iterator[Case]:
    """What the account document says of a log."""
    final = f"{_FIRST.header.seq} {_FIRST.hash.hex()}"
    yield Case(
        "revoked_after_end",
        "revoked",
        "the client ended with the record before",
        _WHOLE,
        extra=(("final", final),),
    )
    yield Case(
        "revoked_at_end",
        "success",
        "the client ends with this record",
        _WHOLE,
        extra=(
            ("final", f"1 {_SECOND.hash.hex()}"),
            ("plaintext", b"the second record".hex()),
        ),
    )
    yield Case(
        "revoked_empty",
        "revoked",
        "the client was revoked before its first record",
        _FIRST.encode(),
        head=None,
        extra=(("final", "none"),),
    )
    yield Case(
        "other_than_named",
        "broken chain",
        "the account document names another hash at this seq",
        _WHOLE,
        extra=(("named", f"1 {fixed('other').hex()}"),),
    )
    yield Case(
        "body_missing",
        "body missing",
        "the body was not sent",
        _WHOLE[:237],
        extra=(("body", "absent"),),
    )
    yield Case(
        "body_erased",
        "success",
        "the body was not sent: the owner had it destroyed",
        _WHOLE[:237],
        extra=(("body", "absent"), ("erased", "1 1")),
    )
    yield Case(
        "body_erased_elsewhere",
        "body missing",
        "the body was not sent: the owner had others destroyed",
        _WHOLE[:237],
        extra=(("body", "absent"), ("erased", "2 3")),
    )


def check(fields: Fields) -> None:
    require_keys(
        fields,
        {"account id", "client public", "ring", "log epoch", "record"},
        {
            *{"head", "final", "named", "erased", "body", "plaintext", "client seed"},
            *{"h0", "body hash", "signed message", "signature", "record hash"},
            *BETWEEN,
        },
    )
    data = unhex(fields, "record")
    log = _reader(fields)
    before = (log.head, log.epoch)

    def accept() -> tuple[SealedRecord, bytes | None]:
        if fields.get("body") == "absent":
            record = SealedRecord.of_parts(
                data[:HEADER_BYTES], data[HEADER_BYTES:], None
            )
        else:
            record = decode_record(data)
        return record, log.accept(record)

    accepted = attempt(fields, accept)

    if accepted is None:
        assert (log.head, log.epoch) == before
        return
    record, plaintext = accepted
    assert log.head == head_of(record)
    if plaintext is not None and "plaintext" in fields:
        assert plaintext == unhex(fields, "plaintext")
    if "h0" in fields:
        same(fields, _between(record, unhex(fields, "plaintext")))


def _reader(fields: Fields) -> VerifiedLog:
    client = unhex(fields, "client public")
    keys = unhex(fields, "ring")
    client_id = client_id_of(client)
    log = VerifiedLog(
        account_id=AccountId(unhex(fields, "account id")),
        client_id=client_id,
        client_public=client,
        ring={at // 32: EpochKey(keys[at : at + 32]) for at in range(0, len(keys), 32)},
        epoch=int(fields["log epoch"]),
    )
    if "head" in fields:
        log.head = _head(fields["head"])
    if "final" in fields:
        log.revoked = True
        log.final = None if fields["final"] == "none" else _head(fields["final"])
    if "named" in fields:
        named = _head(fields["named"])
        log.anchors = {named.seq: named.hash}
    if "erased" in fields:
        first, last = (Seq(int(number)) for number in fields["erased"].split())
        log.erased = [Erasure(client_id=client_id, from_seq=first, to_seq=last)]
    return log


def _head(text: str) -> Head:
    seq, digest = text.split()
    return Head(seq=Seq(int(seq)), hash=RecordHash(bytes.fromhex(digest)))


def _between(record: SealedRecord, plaintext: bytes) -> dict[str, bytes]:
    body = record.body or b""
    sealed = record.header.salt + record.header.commitment + body
    h0 = record.header_bytes[:H0_BYTES]
    key = _RING[record.header.epoch].reveal()
    values = between(key, labels.RECORD_SEAL, h0, plaintext, _RANDOM, sealed)
    return {
        "h0": h0,
        **values,
        "body hash": hash_body(body),
        "signed message": signed_bytes(record.header_bytes),
        "signature": record.signature,
        "record hash": record.hash,
    }


def _fields(case: Case) -> Fields:
    head = {}
    if case.head is not None:
        head = {"head": f"{case.head.header.seq} {case.head.hash.hex()}"}
    return {
        "expect": case.expect,
        "comment": case.comment,
        "account id": _ACCOUNT.hex(),
        "client public": _CLIENT.public.hex(),
        "ring": b"".join(key.reveal() for key in _RING[: case.ring]).hex(),
        **head,
        "log epoch": str(case.log_epoch),
        **dict(case.extra),
        "record": case.record.hex(),
    }


def _success(comment: str, record: SealedRecord, head: SealedRecord | None) -> Fields:
    case = Case("", "success", comment, record.encode(), head=head)
    fields = _fields(replace(case, comment=f"{comment}, with the values in between"))
    whole = fields.pop("record")
    plaintext = _reader_plaintext(fields, record)
    values = _between(record, plaintext)
    return {
        **fields,
        "client seed": _CLIENT.reveal().hex(),
        "plaintext": plaintext.hex(),
        "random": _RANDOM.hex(),
        **{key: value.hex() for key, value in values.items()},
        "record": whole,
    }


def _reader_plaintext(fields: Fields, record: SealedRecord) -> bytes:
    plaintext = _reader(fields).accept(record)
    assert plaintext is not None
    return plaintext
