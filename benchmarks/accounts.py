"""Accounts of a host and the records of their clients, from a seed.

They are put into the host's database before it starts: to register thousands over
HTTP would take the time of thousands of proofs, and is refused by rate limits.
Documents, records and signatures are real ones; the keys blob and the label of a
client are random bytes of the usual size, for a host cannot tell.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from awserver.documents import (
    NO_KEY,
    SEALED_CLIENT_LABEL_BYTES,
    AccountDocument,
    ClientEntry,
    hash_document,
    hash_keys_blob,
)
from awserver.documents import ZERO_HASH as NO_DOCUMENT
from awserver.records import (
    ZERO_HASH,
    AccountId,
    ClientId,
    RecordHash,
    SealedRecord,
    Seq,
    account_id_of,
)
from awserver.service.secrets import make_token
from awserver.storage.base import NewDocument, Session
from awserver.storage.sqlite import logs as log_store
from awserver.storage.sqlite.accounts import SqliteAccountStore
from awserver.storage.sqlite.database import Database
from awserver.storage.sqlite.logs import SqliteLogStore
from awserver.wire import API_PATH, BINARY_TYPE, encode_frame
from awvault.crypto.committing import TAG_BYTES
from awvault.crypto.envelope import seal_record
from awvault.crypto.keys import (
    ClientKey,
    EpochKey,
    MasterKey,
    derive_account_signing_key,
)
from benchmarks.client import Address, post

KEYS_BLOB_BYTES: Final = 350
AT_ONCE: Final = 512
"""Accounts that are stored in one commit."""


@dataclass(slots=True)
class Member:
    """An account with one client, and the log that the client has written so far."""

    username: str
    account_id: AccountId
    client_key: ClientKey = field(repr=False)
    epoch_key: EpochKey = field(repr=False)
    token: str = field(repr=False)
    source: random.Random = field(repr=False)
    next_seq: int = 0
    prev: RecordHash = ZERO_HASH

    @property
    def client_id(self) -> ClientId:
        """The only client."""
        return self.client_key.client_id

    @property
    def headers(self) -> str:
        """What each request of a session says."""
        return f"Authorization: Bearer {self.token}\r\n"

    def seal(self, body_bytes: int) -> SealedRecord:
        """Return the next record of the log, with a body of so many bytes."""
        record = seal_record(
            self.epoch_key,
            self.client_key,
            account_id=self.account_id,
            client_id=self.client_id,
            epoch=0,
            seq=Seq(self.next_seq),
            prev=self.prev,
            plaintext=self.source.randbytes(body_bytes - TAG_BYTES),
            random=self.source.randbytes,
        )
        self.next_seq += 1
        self.prev = record.hash
        return record

    def append(self, address: Address, records: Sequence[SealedRecord]) -> bytes:
        """Return the request that appends these records."""
        return post(
            address,
            f"{API_PATH}/logs/{self.client_id.hex()}",
            b"".join([encode_frame(record) for record in records]),
            media_type=BINARY_TYPE,
            headers=self.headers,
        )


def make_host(path: Path, count: int, *, seed: int = 2016) -> list[Member]:
    """Make the database of a host with so many accounts; return them."""
    return asyncio.run(_make_host(path, count, seed))


async def _make_host(path: Path, count: int, seed: int) -> list[Member]:
    database = Database.open(path, create=True)
    try:
        log_store.migrate(database)
        store = SqliteAccountStore(database, SqliteLogStore(database))
        members: list[Member] = []
        for at in range(0, count, AT_ONCE):
            numbers = range(at, min(at + AT_ONCE, count))
            made = [_new_member(number, seed) for number in numbers]
            await asyncio.gather(*(_store(store, *one) for one in made))
            members += [member for member, *_ in made]
        return members
    finally:
        await database.close()


def _new_member(number: int, seed: int) -> tuple[Member, bytes, bytes, Session]:
    """Return a member, the document, the keys blob, and the session."""
    source = random.Random(f"{seed}-{number}")
    signing_key = derive_account_signing_key(MasterKey(source.randbytes(32)))
    account_id = account_id_of(signing_key.public)
    client_key = ClientKey(source.randbytes(32))
    token, token_hash = make_token(account_id, source.randbytes)
    hour = int(time.time()) // 3600
    keys_blob = source.randbytes(KEYS_BLOB_BYTES)
    member = Member(
        username=f"member-{number}",
        account_id=account_id,
        client_key=client_key,
        epoch_key=EpochKey(source.randbytes(32)),
        token=token,
        source=source,
    )
    document = AccountDocument(
        version=1,
        prev=NO_DOCUMENT,
        account_id=account_id,
        epoch=0,
        signing_public=signing_key.public,
        oldest_suite=1,
        username=member.username,
        salt=source.randbytes(16),
        login_public=source.randbytes(32),
        recovery_login_public=NO_KEY,
        keys_blob_hash=hash_keys_blob(keys_blob),
        clients=(
            ClientEntry(
                number=1,
                public=client_key.public,
                added_version=1,
                label_epoch=0,
                sealed_label=source.randbytes(SEALED_CLIENT_LABEL_BYTES),
            ),
        ),
        heads=(),
        erased=(),
    ).sign(signing_key)
    session = Session(
        token_hash=token_hash,
        client_id=member.client_id,
        created_hour=hour,
        seen_hour=hour,
    )
    return member, document, keys_blob, session


async def _store(
    store: SqliteAccountStore,
    member: Member,
    document: bytes,
    keys_blob: bytes,
    session: Session,
) -> None:
    await store.create(
        member.account_id,
        username=member.username,
        documents=[
            NewDocument(version=1, document=document, hash=hash_document(document))
        ],
        keys_blob=keys_blob,
        # Of the year 1970, so that the host forgets it at once.
        nonce=bytes(4) + member.source.randbytes(28),
        session=session,
        invite_hash=None,
        hour=session.created_hour,
    )
