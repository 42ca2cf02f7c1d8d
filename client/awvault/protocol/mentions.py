"""What each client says that it has seen, and what that proves.

Every record names, of each other client, the newest record that its writer had
verified, and the account document that it knew. A host cannot make such a
*mention*. So two hashes at one place prove a fork, and a mention of something
that the host does not supply proves that it withholds it. What the owner signed in
the account document is a mention too. Mentions of two clients are never compared
whole: honest clients work at the same time.
docs/protocol/logs.md, "What clients have seen".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from awserver.records import ClientId, Head, RecordHash, Seq
from awvault.errors import ForkError, RollbackError, WithheldError
from awvault.protocol.account import Pin, VerifiedAccount

NO_DOCUMENT: Final[Pin] = (0, b"")

HashAt = Callable[[ClientId, Seq], RecordHash | None]
"""Return the hash of a record that was verified; None: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """What one record says that its writer had seen."""

    seen: Mapping[ClientId, Head] = field(default_factory=dict)
    """Of each client the newest record that was verified."""
    document: Pin = NO_DOCUMENT
    """(version, hash) of the account document."""

    @classmethod
    def of(cls, seen: Mapping[bytes, tuple[int, bytes]], document: Pin) -> Self:
        """Return what a payload says."""
        return cls(
            seen={
                ClientId(client): Head(seq=Seq(seq), hash=RecordHash(record_hash))
                for client, (seq, record_hash) in seen.items()
            },
            document=document,
        )

    def joined(self, other: "Mention") -> "Mention":
        """Return what has been seen by either; of each client the higher."""
        seen = dict(self.seen)
        for client, head in other.seen.items():
            known = seen.get(client)
            if known is None or known.seq < head.seq:
                seen[client] = head
        return Mention(seen=seen, document=max(self.document, other.document))

    def as_payload(self) -> dict[bytes, tuple[int, bytes]]:
        """Return `seen` as a payload has it."""
        return {client: (head.seq, head.hash) for client, head in self.seen.items()}


NOTHING_SEEN: Final = Mention()

Mentions = Mapping[ClientId, Mention]
"""The newest mention of each log."""


def mention_of(account: VerifiedAccount) -> Mention:
    """Return what the newest account document names: heads, and ends of logs.

    Its writer had verified them, and had of its own log what a host acknowledged.
    """
    named = Mention(seen=dict(account.document.heads))
    ends = {
        client_id: entry.final
        for client_id, entry in account.clients.items()
        if entry.final is not None
    }
    return named.joined(Mention(seen=ends))


def check_grows(before: Mention, after: Mention, *, writer: ClientId) -> None:
    """Raise unless what a client has seen goes on from what it had seen.

    Raises `RollbackError` if it shrank, `ForkError` if a place has another hash.
    """
    # 13: it does not shrink.
    whose = f"what client {_short(writer)} has seen"
    for client, head in before.seen.items():
        now = after.seen.get(client)
        if now is None or now.seq < head.seq:
            raise RollbackError(
                f"{whose} of client {_short(client)}",
                verified=head.seq + 1,
                offered=0 if now is None else now.seq + 1,
            )
        if now.seq == head.seq and now.hash != head.hash:
            raise _record_fork(client, head.seq)
    if after.document[0] < before.document[0]:
        raise RollbackError(
            f"{whose} of the account document",
            verified=before.document[0],
            offered=after.document[0],
        )
    if after.document[0] == before.document[0] and after.document != before.document:
        raise _document_fork(after.document[0])


def check_agrees(
    mention: Mention,
    *,
    writer: ClientId | None,
    account: VerifiedAccount,
    hash_at: HashAt,
) -> None:
    """Raise `ForkError` if a mention and what is held here exclude each other.

    `writer` is None for what the account document names. What is mentioned and not
    held may still come: `check_supplied` judges that, and this again once it has
    come.
    """
    for client, head in mention.seen.items():
        if client == writer or not _counts(account, client, head.seq):
            continue
        held = hash_at(client, head.seq)
        if held is not None and held != head.hash:
            raise _record_fork(client, head.seq)
    version, document_hash = mention.document
    if 0 < version <= len(account.hashes) and (
        account.hashes[version - 1] != document_hash
    ):
        raise _document_fork(version)


def check_supplied(
    mention: Mention,
    *,
    writer: ClientId | None,
    account: VerifiedAccount,
    heads: Mapping[ClientId, Head],
) -> None:
    """Raise `WithheldError` for the first thing mentioned that was not supplied.

    `heads` and `account` are what was verified of all that the host gave when it
    was asked after it had given the mention. What a host only claims to have is no
    head here, but for a log that could not be read for another reason: what that
    one lacks is another error.
    """
    version, _ = mention.document
    if version > account.document.version:
        raise WithheldError(
            "the account document",
            mentioned=version,
            offered=account.document.version,
        )
    for client, head in mention.seen.items():
        if client == writer or not _counts(account, client, head.seq):
            continue
        offered = heads.get(client)
        if offered is None or offered.seq < head.seq:
            raise WithheldError(
                f"the log of client {_short(client)}",
                mentioned=head.seq + 1,
                offered=0 if offered is None else offered.seq + 1,
                client_id=client,
            )


def _counts(account: VerifiedAccount, client: ClientId, seq: Seq) -> bool:
    """Say whether a record counts; those after the end of a revoked client do not."""
    entry = account.clients.get(client)
    if entry is None or not entry.revoked:
        return True
    return entry.final is not None and seq <= entry.final.seq


def _record_fork(client: ClientId, seq: Seq) -> ForkError:
    return ForkError(f"record {seq} of client {_short(client)}", client_id=client)


def _document_fork(version: int) -> ForkError:
    return ForkError(f"account document version {version}")


def _short(client: ClientId) -> str:
    return client.hex()[:8]
