"""The vectors, run by the reader that knows docs/protocol alone.

Success gives the values that the file has. A failure is one of the reader's
four kinds, which are coarser than what `expect` tells apart.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.independent_reader import account, logs, payload
from tests.independent_reader.primitives import (
    AlteredError,
    Costs,
    NewerError,
    PayloadError,
    ReaderError,
    WrongPassphraseError,
    check_signed,
    derived,
    ed25519_public,
    hashed,
    lp,
    opened_row,
    passphrase_key,
    recovery_key_of,
)

VECTORS: Final = Path(__file__).parents[1] / "vectors"
FILES: Final = sorted(VECTORS.glob("*/*.txt"))
FAILURES: Final[dict[str, type[ReaderError]]] = {
    "wrong recovery key": WrongPassphraseError,
    "unsupported suite": NewerError,
    "wrong passphrase": WrongPassphraseError,
    "payload failure": PayloadError,
}
"""Every other failure is that what is stored was altered."""


class Vector:
    """The fields of a file; each must be asked for, or the vector fails."""

    def __init__(self, path: Path) -> None:
        self.fields: dict[str, str] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            assert key not in self.fields
            self.fields[key] = value.removeprefix(" ")
        self.expect = self.fields.pop("expect")
        del self.fields["comment"]

    def __contains__(self, key: str) -> bool:
        return key in self.fields

    def text(self, key: str) -> str:
        return self.fields.pop(key)

    def octets(self, key: str) -> bytes:
        return bytes.fromhex(self.text(key))

    def number(self, key: str) -> int:
        return int(self.text(key))

    def head(self, key: str) -> tuple[int, bytes]:
        seq, digest = self.text(key).split()
        return int(seq), bytes.fromhex(digest)

    def same(self, found: dict[str, bytes]) -> None:
        """Compare values in between, and what comes out, where the file has them."""
        for key, value in found.items():
            if key in self.fields:
                assert value == self.octets(key), key


def between(
    vector: Vector, key: bytes, label: str, context: bytes, plaintext: bytes
) -> None:
    """Follow a committing seal from its randomness to its ciphertext."""
    if "random" not in vector:
        return
    hedge_context = hashed("context", lp(label.encode()) + context)
    plaintext_hash = hashed("plaintext", plaintext)
    drawn = vector.octets("random") + hedge_context + plaintext_hash
    salt = derived(key, "hedge", drawn, 24)
    context_hash = hashed("context", context)
    both = derived(key, label, salt + context_hash, 64)
    vector.same(
        {
            "plaintext": plaintext,
            "context": context,
            "hedge context hash": hedge_context,
            "plaintext hash": plaintext_hash,
            "seal salt": salt,
            "context hash": context_hash,
            "sealing key": both[:32],
            "commitment": both[32:],
        }
    )


def joined(ring: dict[int, bytes]) -> bytes:
    return b"".join(ring[epoch] for epoch in sorted(ring))


def keys(vector: Vector) -> Callable[[], None]:
    def run() -> None:
        if "passphrase" in vector:
            typed = vector.text("passphrase")
            username, salt = vector.text("username"), vector.octets("salt")
            costs = Costs(vector.number("memory kib"), vector.number("passes"))
            key = passphrase_key(typed, username, salt, costs)
            seed = derived(key, "login")
            vector.same(
                {
                    "bound salt": hashed("salt", lp(username.encode()) + salt, 16),
                    "passphrase key": key,
                    "login seed": seed,
                    "login public": ed25519_public(seed),
                    "kek-pass": derived(key, "kek-pass"),
                }
            )
            vector.fields.pop("passphrase utf-8")
        elif "recovery key" in vector:
            key = vector.octets("recovery key")
            seed = derived(key, "rec-login")
            vector.same(
                {
                    "rec-login seed": seed,
                    "rec-login public": ed25519_public(seed),
                    "kek-rec": derived(key, "kek-rec"),
                }
            )
        elif "master key" in vector:
            key = vector.octets("master key")
            seed = derived(key, "ask")
            public = ed25519_public(seed)
            vector.same(
                {
                    "ask seed": seed,
                    "ask public": public,
                    "account id": hashed("account", public, 16),
                    "kek-ring": derived(key, "kek-ring"),
                }
            )
        else:
            public = ed25519_public(vector.octets("client seed"))
            client_id = hashed("client", public, 16)
            epoch_key = vector.octets("epoch key")
            journal_key = vector.octets("journal key")
            boot = vector.octets("boot random")
            vector.same(
                {
                    "client public": public,
                    "client id": client_id,
                    "local key": derived(epoch_key, "local", client_id),
                    "boot key": derived(journal_key, "journal", boot),
                    "index key": derived(journal_key, "index"),
                }
            )

    return run


def place_of(vector: Vector) -> account.Place:
    return account.Place(
        vector.octets("account id"), vector.number("epoch"), vector.octets("salt")
    )


def slots(vector: Vector) -> Callable[[], None]:
    kind, kek = vector.text("kind"), vector.octets("kek")
    place, slot = place_of(vector), vector.octets("slot")

    def run() -> None:
        master = account.opened_slot(kind, kek, place, slot)
        label, number = {"passphrase": ("slot-pass", 1), "recovery": ("slot-rec", 2)}[
            kind
        ]
        context = place.context(number, place.salt)
        vector.same({"master key": master, "ciphertext": slot[56:]})
        between(vector, kek, label, context, master)

    return run


def rings(vector: Vector) -> Callable[[], None]:
    kek, place, sealed = vector.octets("kek"), place_of(vector), vector.octets("sealed")

    def run() -> None:
        ring = account.opened_ring(kek, place, sealed)
        plaintext = len(ring).to_bytes(4, "little") + b"".join(
            epoch.to_bytes(4, "little") + ring[epoch] for epoch in sorted(ring)
        )
        vector.same({"ring": joined(ring), "ciphertext": sealed[56:]})
        between(vector, kek, "ring", place.context(3, place.salt), plaintext)

    return run


def keystores(vector: Vector) -> Callable[[], None]:
    epoch_key, account_id = vector.octets("epoch key"), vector.octets("account id")
    client_id, sealed = vector.octets("client id"), vector.octets("sealed")

    def run() -> None:
        found = account.keystore_of(epoch_key, account_id, client_id, sealed)
        assert found.number == vector.number("client number")
        assert found.pin == (vector.number("pin version"), vector.octets("pin hash"))
        local = derived(epoch_key, "local", client_id)
        vector.same(
            {
                "client seed": found.client_seed,
                "journal key": found.journal_key,
                "ring": joined(found.ring),
                "local key": local,
                "ciphertext": sealed[56:],
            }
        )
        between(
            vector,
            local,
            "keystore",
            account_id + client_id,
            bytes.fromhex(vector.fields["plaintext"]),
        )

    return run


def rows(vector: Vector) -> Callable[[], None]:
    if "epoch key" in vector:
        epoch_key, account_id = vector.octets("epoch key"), vector.octets("account id")
        client_id, label = vector.octets("client id"), vector.octets("sealed")

        def run_label() -> None:
            text = account.label_of(epoch_key, account_id, client_id, label)
            assert text == vector.text("text")

        return run_label
    key, context = vector.octets("key"), vector.octets("context")
    sealed = vector.octets("sealed")

    def run() -> None:
        plaintext = opened_row(key, context, sealed, "the row")
        hashes = hashed("context", context), hashed("plaintext", plaintext)
        drawn = vector.octets("random") + b"".join(hashes)
        assert derived(key, "row-nonce", drawn, 24) == sealed[:24]
        vector.same(
            {
                "plaintext": plaintext,
                "context hash": hashes[0],
                "plaintext hash": hashes[1],
                "nonce": sealed[:24],
            }
        )

    return run


def documents(vector: Vector) -> Callable[[], None]:
    account_id = vector.octets("account id")
    names = [key for key in vector.fields if key.startswith("document ")]
    chain = [vector.octets(f"document {n + 1}") for n in range(len(names))]
    pin = vector.head("pin") if "pin" in vector else None

    def run() -> None:
        found = account.verified(account_id, chain)
        if pin is not None:
            account.check_pin(found, pin)
        vector.same({f"hash {n}": d.hash for n, d in enumerate(found, start=1)})

    return run


def accounts(vector: Vector) -> Callable[[], None]:
    passphrase, account_id = vector.text("passphrase"), vector.octets("account id")
    costs = Costs(vector.number("memory kib"), vector.number("passes"))
    document, blob = vector.octets("document"), vector.octets("keys blob")

    def run() -> None:
        (found,) = account.verified(account_id, [document])
        ring = account.ring_of(found, blob, passphrase, costs)
        client_id = found.clients[0].id
        keystore = account.keystore_of(
            ring[0], account_id, client_id, vector.octets("keystore")
        )
        account.check_pin([found], keystore.pin)
        vector.same(
            {
                "ring": joined(ring),
                "document hash": found.hash,
                "client id": client_id,
            }
        )

    return run


def edits(vector: Vector) -> Callable[[], None]:
    account_id, blob = vector.octets("account id"), vector.octets("keys blob")
    names = [key for key in vector.fields if key.startswith("document ")]
    chain = [vector.octets(f"document {n + 1}") for n in range(len(names))]
    recovery_key = vector.octets("recovery key") if "recovery key" in vector else None
    if recovery_key is None:
        passphrase = vector.text("passphrase")
        costs = Costs(vector.number("memory kib"), vector.number("passes"))

    def run() -> None:
        newest = account.verified(account_id, chain)[-1]
        ring = (
            account.ring_of(newest, blob, passphrase, costs)
            if recovery_key is None
            else account.recovered_ring_of(newest, blob, recovery_key)
        )
        vector.same({"ring": joined(ring)})
        assert newest.username == vector.text("username")
        heads = dict(newest.heads)
        for client in newest.clients:
            label = account.label_of(
                ring[client.label_epoch], account_id, client.id, client.label
            )
            assert label == vector.text(f"label {client.number}")
            vector.same({f"client {client.number}": client.id})
            if client.id in heads:
                assert heads[client.id] == vector.head(f"head {client.number}")

    return run


def proofs(vector: Vector) -> Callable[[], None]:
    nonce, client_nonce = vector.octets("nonce"), vector.octets("client nonce")
    salt_hash = hashed("proof-hash", vector.octets("salt"))
    body_hash = hashed("proof-hash", vector.octets("body"))
    transcript = lp(
        vector.text("origin").encode(),
        vector.text("action").encode(),
        vector.text("username").encode(),
        nonce,
        client_nonce,
        vector.octets("client id"),
        salt_hash,
        body_hash,
    )
    message = lp(b"proof") + transcript
    public, signature = vector.octets("public"), vector.octets("signature")

    def run() -> None:
        check_signed(public, "proof", transcript, signature, "the proof")
        assert ed25519_public(vector.octets("seed")) == public
        vector.same(
            {
                "salt hash": salt_hash,
                "body hash": body_hash,
                "transcript": transcript,
                "signed message": message,
            }
        )

    return run


def recoveries(vector: Vector) -> Callable[[], None]:
    words = vector.text("words")

    def run() -> None:
        assert recovery_key_of(words) == vector.octets("recovery key")

    return run


def records(vector: Vector) -> Callable[[], None]:
    ring = vector.octets("ring")
    log = logs.Log(
        account_id=vector.octets("account id"),
        public=vector.octets("client public"),
        ring={at // 32: ring[at : at + 32] for at in range(0, len(ring), 32)},
        epoch=vector.number("log epoch"),
    )
    if "head" in vector:
        seq, log.prev = vector.head("head")
        log.next_seq = seq + 1
    if "final" in vector:
        none = vector.fields["final"] == "none"
        log.end = (1, None) if none else (2, vector.head("final"))
        vector.fields.pop("final", None)
    if "named" in vector:
        log.known = dict([vector.head("named")])
    if "erased" in vector:
        first, last = vector.text("erased").split()
        log.erased = [(int(first), int(last))]
    data = vector.octets("record")
    absent = "body" in vector and vector.text("body") == "absent"
    header, signature = data[:173], data[173:237]
    body = None if absent else data[237:]

    def run() -> None:
        accepted = log.accept(header, signature, body)
        vector.same(
            {
                "h0": header[:81],
                "ciphertext": body or b"",
                "body hash": header[141:],
                "signed message": lp(b"record") + header,
                "signature": signature,
                "record hash": accepted.hash,
            }
        )
        if "client seed" in vector:
            assert ed25519_public(vector.octets("client seed")) == log.public
        if accepted.plaintext is not None:
            epoch_key = log.ring[log.epoch]
            between(vector, epoch_key, "record-seal", header[:81], accepted.plaintext)
            vector.same({"plaintext": accepted.plaintext})

    return run


def padding(vector: Vector) -> Callable[[], None]:
    def run() -> None:
        if "sizes" in vector:
            floor = vector.number("floor")
            for pair in vector.text("sizes").split():
                size, padded = map(int, pair.split("="))
                assert logs.padded_bytes(size, floor) == padded
            return
        assert logs.unpadded(vector.octets("padded")) == vector.octets("content")

    return run


def row_lines(rows: list[payload.Row]) -> dict[str, str]:
    """Return rows as vectors.md describes their lines."""
    return {
        f"row {n}": " ".join(map(str, row[:7])) + " " + row.text.hex()
        for n, row in enumerate(rows, start=1)
    }


def bucket_lines(buckets: list[payload.Bucket]) -> dict[str, str]:
    """Return bucket versions as vectors.md describes their lines."""
    return {
        f"bucket {n}": " ".join(
            [
                *map(str, (one.bucket_id, one.revision, one.created_us)),
                str(int(one.hidden)),
                *(
                    word.encode().hex() or "-"
                    for word in (one.name, one.type, one.client, one.hostname)
                ),
                one.data.hex(),
            ]
        )
        for n, one in enumerate(buckets, start=1)
    }


def all_of(vector: Vector, found: dict[str, str]) -> None:
    """Compare every line of the file that is left with what was found."""
    assert vector.fields == found
    vector.fields.clear()


def payloads(vector: Vector) -> Callable[[], None]:
    packed = vector.octets("packed")

    def run() -> None:
        raw = payload.unpacked(packed)
        found = payload.decoded(raw)
        vector.same({"payload": raw})
        if "index row" in vector:
            row = payload.from_msgpack(vector.octets("index row"))
            assert row == payload.index_row_of(found, vector.number("writer"))
        seen = enumerate(sorted(found.seen.items()), start=1)
        version, digest = found.document
        rows = row_lines(found.rows)
        if "rows" in vector:
            rows = {"rows": str(len(rows))}
        all_of(
            vector,
            {
                **{f"seen {n}": f"{c.hex()} {s} {h.hex()}" for n, (c, (s, h)) in seen},
                "document": f"{version} {digest.hex() or 'none'}",
                "next ids": "{} {}".format(*found.next_ids),
                **bucket_lines(found.buckets),
                **rows,
            },
        )

    return run


def journal(vector: Vector) -> Callable[[], None]:
    plaintext = vector.octets("plaintext")

    def run() -> None:
        row = payload.journal_row(plaintext)
        if isinstance(row, payload.Bucket):
            all_of(vector, bucket_lines([row]))
        else:
            all_of(vector, row_lines(row))

    return run


def frames(vector: Vector) -> Callable[[], None]:
    if "documents" in vector:
        joined = vector.octets("documents")

        def run_documents() -> None:
            listed = enumerate(logs.documents_of(joined), start=1)
            all_of(vector, {f"document {n}": one.hex() for n, one in listed})

        return run_documents
    data = vector.octets("frames")

    def run() -> None:
        found = {}
        for n, (header, signature, body) in enumerate(logs.frames_of(data), start=1):
            record_hash = hashed("record-hash", header + signature)
            seq = int.from_bytes(header[41:49], "little")
            shown = "absent" if body is None else body.hex()
            found[f"record {n}"] = f"{seq} {record_hash.hex()} {shown}"
        all_of(vector, found)

    return run


KINDS: Final[dict[str, Any]] = {
    "accounts": accounts,
    "documents": documents,
    "edits": edits,
    "keys": keys,
    "keystores": keystores,
    "padding": padding,
    "proofs": proofs,
    "recoveries": recoveries,
    "frames": frames,
    "journal": journal,
    "payloads": payloads,
    "records": records,
    "rings": rings,
    "rows": rows,
    "slots": slots,
}


def test_there_are_vectors_of_every_kind() -> None:
    """No folder is passed over."""
    assert {path.parent.name for path in FILES} == set(KINDS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_the_reader_agrees_with_the_vector(path: Path) -> None:
    """It succeeds with the values of the file, all of them used, or fails."""
    vector = Vector(path)
    run = KINDS[path.parent.name](vector)

    if vector.expect == "success":
        run()
        assert vector.fields == {}
    else:
        with pytest.raises(FAILURES.get(vector.expect, AlteredError)):
            run()
