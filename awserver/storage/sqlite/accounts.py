"""`AccountStore` in SQLite: accounts, names and sessions, beside the logs.

As in `awserver.storage.sqlite.logs`, each operation has a synchronous form that
takes the transaction it runs in; the asynchronous forms wrap these.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from awserver.documents import CHAIN_BYTES_MAX
from awserver.errors import (
    AccountDeletingError,
    AccountDisabledError,
    AccountExistsError,
    AccountUnknownError,
    DocumentConflictError,
    InviteInvalidError,
    LimitExceededError,
    ProofRefusedError,
    ServerError,
    SessionInvalidError,
    UsernameTakenError,
)
from awserver.records import AccountId, ClientId, SealedRecord
from awserver.storage.base import (
    ACCOUNTS_MAX,
    DELETE_BYTES_MAX,
    DELETE_ROWS_MAX,
    SESSIONS_MAX,
    Access,
    Account,
    AccountStore,
    Appended,
    ChangeState,
    EndedSessions,
    FoundAccount,
    Grant,
    NewDocument,
    Session,
    Standing,
    Usage,
)
from awserver.storage.sqlite.appending import Appends, rows_for, statement_for
from awserver.storage.sqlite.database import Database, Refused, Transaction
from awserver.storage.sqlite.logs import SqliteLogStore, is_deleted

NOBODY: Final = AccountId(bytes(16))
"""No account has this id: what is looked up for a name that nobody has."""

# One row for every name, and the same lookups, so that time tells nothing.
_FIND: Final = """
SELECT u.account_id, a.standing, (
    SELECT coalesce(max(d.version), 0) FROM documents AS d
    WHERE d.account_id = coalesce(u.account_id, ?2)
)
FROM (SELECT ?1 AS username) AS n
LEFT JOIN usernames AS u ON u.username = n.username
LEFT JOIN accounts AS a ON a.account_id = coalesce(u.account_id, ?2)
"""

_PLACE: Final = ("account_id", "token_hash")
_ACCESSES: Final = """
SELECT w.account_id, w.token_hash, s.client_id, s.created_hour, s.seen_hour,
    a.standing, a.quota_bytes, (
        SELECT coalesce(max(d.version), 0) FROM documents AS d
        WHERE d.account_id = s.account_id
    )
FROM wanted AS w CROSS JOIN sessions AS s
ON s.account_id = w.account_id AND s.token_hash = w.token_hash
CROSS JOIN accounts AS a ON a.account_id = w.account_id
"""
_ACCESS: Final = statement_for(_ACCESSES, _PLACE, rows=1)

_ACCOUNTS: Final = """
SELECT a.account_id, u.username, a.standing, a.quota_bytes,
    coalesce(c.entries, 0), coalesce(c.bytes, 0)
FROM accounts AS a JOIN usernames AS u USING (account_id)
LEFT JOIN usage AS c USING (account_id)
"""

_STATES: Final = """
SELECT a.account_id, coalesce(c.entries, 0), (
    SELECT coalesce(max(d.version), 0) FROM documents AS d
    WHERE d.account_id = a.account_id
)
FROM json_each(?) AS j JOIN accounts AS a ON a.account_id = unhex(j.value)
LEFT JOIN usage AS c ON c.account_id = a.account_id
"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Append:
    """What one call of `append` wants."""

    grant: Grant
    records: Sequence[SealedRecord]
    version: int
    quota_bytes: int | None


class SqliteAccountStore(AccountStore):
    """An `AccountStore` in the SQLite file that holds the logs."""

    def __init__(self, database: Database, logs: SqliteLogStore) -> None:
        """Use `database`, which `logs.migrate` has prepared."""
        self._db = database
        self._logs = logs

    async def host_secret(self, candidate: bytes) -> bytes:
        """See `AccountStore.host_secret`."""

        def work(tx: Transaction) -> bytes:
            tx.execute(
                "INSERT OR IGNORE INTO host_secret (one, secret) VALUES (1, ?)",
                (candidate,),
            )
            (secret,) = _one(tx, "SELECT secret FROM host_secret")
            return bytes(secret)

        return await self._db.write(work)

    # -- accounts ------------------------------------------------------------

    async def find(self, username: str) -> FoundAccount | None:
        """See `AccountStore.find`."""
        row = self._db.first_row(_FIND, (username, NOBODY))
        account, standing, version = row if row is not None else (None, None, 0)
        # Made for every name, so that time tells nothing.
        found = FoundAccount(
            account_id=AccountId(account or NOBODY),
            standing=Standing(standing or 0),
            version=version,
        )
        return None if account is None else found

    async def account(self, account: AccountId) -> Account | None:
        """See `AccountStore.account`."""
        found = await self._read(
            lambda tx: _accounts(tx, "WHERE a.account_id = ?", (account,))
        )
        return found[0] if found else None

    async def list_accounts(
        self, *, after: AccountId | None = None, count_max: int = ACCOUNTS_MAX
    ) -> list[Account]:
        """See `AccountStore.list_accounts`."""
        return await self._read(
            lambda tx: _accounts(
                tx,
                "WHERE a.account_id > ? ORDER BY a.account_id LIMIT ?",
                (after or b"", min(count_max, ACCOUNTS_MAX)),
            )
        )

    async def create(
        self,
        account: AccountId,
        *,
        username: str,
        documents: Sequence[NewDocument],
        keys_blob: bytes,
        nonce: bytes,
        session: Session | None,
        invite_hash: bytes | None,
        hour: int,
    ) -> None:
        """See `AccountStore.create`."""

        def work(tx: Transaction) -> None:
            if invite_hash is not None:
                _use_invite(tx, invite_hash, hour)
            _use_nonce(tx, account, nonce)
            self._add_account(tx, account, username)
            self._put_documents(tx, account, documents, keys_blob)
            if session is not None:
                _insert_session(tx, account, session)

        await self._db.write(work)

    @staticmethod
    def _add_account(tx: Transaction, account: AccountId, username: str) -> None:
        if is_deleted(tx, account):
            raise AccountDeletingError
        if _exists(tx, "SELECT 1 FROM accounts WHERE account_id = ?", (account,)):
            raise AccountExistsError("the account is on this host already: log in")
        if _exists(tx, "SELECT 1 FROM usernames WHERE username = ?", (username,)):
            raise UsernameTakenError(f'the username "{username}" is taken')
        tx.execute(
            "INSERT INTO accounts (account_id, standing, quota_bytes)"
            " VALUES (?, ?, NULL)",
            (account, Standing.ACTIVE),
        )
        tx.execute(
            "INSERT INTO usernames (username, account_id) VALUES (?, ?)",
            (username, account),
        )

    async def adopt(self, account: AccountId, *, username: str) -> None:
        """See `AccountStore.adopt`."""
        await self._db.write(
            lambda tx: self.adopt_within(tx, account, username=username)
        )

    @staticmethod
    def adopt_within(tx: Transaction, account: AccountId, *, username: str) -> None:
        """Adopt an account inside a transaction; see `AccountStore.adopt`."""
        tx.execute(
            "INSERT OR IGNORE INTO accounts (account_id, standing, quota_bytes)"
            " VALUES (?, ?, NULL)",
            (account, Standing.ACTIVE),
        )
        tx.execute(
            "DELETE FROM usernames WHERE account_id = ? AND username <> ?",
            (account, username),
        )
        tx.execute(
            "INSERT OR IGNORE INTO usernames (username, account_id) VALUES (?, ?)",
            (username, account),
        )

    async def set_standing(self, account: AccountId, standing: Standing) -> None:
        """See `AccountStore.set_standing`."""
        await self._update_account(account, "standing", int(standing))

    async def set_quota(self, account: AccountId, quota_bytes: int | None) -> None:
        """See `AccountStore.set_quota`."""
        await self._update_account(account, "quota_bytes", quota_bytes)

    async def _update_account(
        self, account: AccountId, column: str, value: int | None
    ) -> None:
        statement = {
            "standing": "UPDATE accounts SET standing = ? WHERE account_id = ?",
            "quota_bytes": "UPDATE accounts SET quota_bytes = ? WHERE account_id = ?",
        }[column]

        def work(tx: Transaction) -> None:
            tx.execute(statement, (value, account))
            if not tx.changes():
                raise _unknown(account)

        await self._db.write(work)

    # -- sessions ------------------------------------------------------------

    async def add_session(
        self,
        account: AccountId,
        session: Session,
        *,
        nonce: bytes,
        version: int,
        seen_hour_min: int,
    ) -> None:
        """See `AccountStore.add_session`."""

        def work(tx: Transaction) -> None:
            _require_active(tx, account)
            newest = _newest_version(tx, account)
            if newest != version:
                raise DocumentConflictError(
                    expected_version=newest, got_version=version
                )
            _use_nonce(tx, account, nonce)
            tx.execute(
                "DELETE FROM sessions WHERE account_id = ? AND seen_hour < ?",
                (account, seen_hour_min),
            )
            _insert_session(tx, account, session)

        await self._db.write(work)

    def access(self, account: AccountId, token_hash: bytes) -> Access | None:
        """See `AccountStore.access`."""
        row = self._db.first_row(_ACCESS, (account, token_hash))
        return None if row is None else _read_access(row)[0]

    async def touch(self, grant: Grant) -> None:
        """See `AccountStore.touch`."""
        await self._db.write(lambda tx: _touch(tx, grant))

    async def sessions(self, account: AccountId) -> list[Session]:
        """See `AccountStore.sessions`."""
        return await self._read(
            lambda tx: [
                Session(
                    token_hash=token_hash,
                    client_id=ClientId(client),
                    created_hour=created,
                    seen_hour=seen,
                )
                for token_hash, client, created, seen in tx.execute(
                    "SELECT token_hash, client_id, created_hour, seen_hour"
                    " FROM sessions WHERE account_id = ?"
                    " ORDER BY created_hour DESC, token_hash",
                    (account,),
                )
            ]
        )

    async def end_session(self, account: AccountId, id_: bytes) -> bool:
        """See `AccountStore.end_session`."""

        def work(tx: Transaction) -> bool:
            tx.execute(
                "DELETE FROM sessions"
                " WHERE account_id = ?1 AND substr(token_hash, 1, length(?2)) = ?2",
                (account, id_),
            )
            return bool(tx.changes())

        return await self._db.write(work)

    # -- records and documents -----------------------------------------------

    async def append(
        self,
        grant: Grant,
        records: Sequence[SealedRecord],
        *,
        version: int,
        quota_bytes: int | None,
    ) -> Appended:
        """See `AccountStore.append`."""
        return await self._db.submit_jointly(
            _append_all, _Append(grant, records, version, quota_bytes)
        )

    async def put_documents(
        self,
        account: AccountId,
        documents: Sequence[NewDocument],
        *,
        keys_blob: bytes | None,
        nonce: bytes,
        ended: EndedSessions,
        grant: Grant | None,
    ) -> None:
        """See `AccountStore.put_documents`."""

        def work(tx: Transaction) -> None:
            if grant is None:
                _require_active(tx, account)
            else:
                _require_access(tx, grant)
            _use_nonce(tx, account, nonce)
            self._put_documents(tx, account, documents, keys_blob)
            if ended.everyone:
                tx.execute("DELETE FROM sessions WHERE account_id = ?", (account,))
            for client in ended.clients:
                tx.execute(
                    "DELETE FROM sessions WHERE account_id = ? AND client_id = ?",
                    (account, client),
                )

        await self._db.write(work)

    def _put_documents(
        self,
        tx: Transaction,
        account: AccountId,
        documents: Iterable[NewDocument],
        keys_blob: bytes | None,
    ) -> None:
        for document in documents:
            self._logs.put_document_within(
                tx,
                account,
                version=document.version,
                document=document.document,
                document_hash=document.hash,
                keys_blob=None,
            )
        taken = tx.execute(
            "SELECT coalesce(sum(length(document)), 0) FROM documents"
            " WHERE account_id = ?",
            (account,),
        ).get
        if taken > CHAIN_BYTES_MAX:
            raise LimitExceededError(
                f"the account documents come to {taken} bytes, at most"
                f" {CHAIN_BYTES_MAX} are taken"
            )
        if keys_blob is not None:
            self._logs.put_keys_blob_within(tx, account, keys_blob)

    # -- the end of an account -----------------------------------------------

    async def delete(
        self, account: AccountId, *, nonce: bytes | None, grant: Grant | None
    ) -> None:
        """See `AccountStore.delete`."""

        def work(tx: Transaction) -> None:
            if grant is not None:
                _require_access(tx, grant)
            elif not _exists(
                tx, "SELECT 1 FROM accounts WHERE account_id = ?", (account,)
            ):
                raise _unknown(account)
            if nonce is not None:
                _use_nonce(tx, account, nonce)
            tx.execute("INSERT INTO deletions (account_id) VALUES (?)", (account,))
            _delete_small(tx, account)

        await self._db.write(work)

    async def deletions(self) -> list[AccountId]:
        """See `AccountStore.deletions`."""
        return await self._read(
            lambda tx: [
                AccountId(account)
                for (account,) in tx.execute(
                    "SELECT account_id FROM deletions ORDER BY account_id"
                )
            ]
        )

    async def delete_some(self, account: AccountId) -> bool:
        """See `AccountStore.delete_some`."""
        return await self._db.write(lambda tx: self.delete_some_within(tx, account))

    @staticmethod
    def delete_some_within(tx: Transaction, account: AccountId) -> bool:
        """Delete some rows inside a transaction; see `AccountStore.delete_some`."""
        if not is_deleted(tx, account):
            return False
        for step in _STEPS:
            last = _last_of_step(tx.execute(step.rows, (account, DELETE_ROWS_MAX)))
            if last is not None:
                tx.execute(step.delete, (account, *last))
                return True
        tx.execute("DELETE FROM deletions WHERE account_id = ?", (account,))
        return False

    # -- the host's own ------------------------------------------------------

    async def add_invite(self, code_hash: bytes, *, expires_hour: int) -> None:
        """See `AccountStore.add_invite`."""

        def work(tx: Transaction) -> None:
            tx.execute(
                "INSERT INTO invites (code_hash, expires_hour) VALUES (?, ?)",
                (code_hash, expires_hour),
            )

        await self._db.write(work)

    async def forget_nonces(self, *, below: bytes) -> None:
        """See `AccountStore.forget_nonces`."""
        await self._forget("DELETE FROM used_nonces WHERE nonce < ?", below)

    async def forget_sessions(self, *, seen_hour_min: int) -> None:
        """See `AccountStore.forget_sessions`."""
        await self._forget("DELETE FROM sessions WHERE seen_hour < ?", seen_hour_min)

    async def forget_invites(self, *, hour: int) -> None:
        """See `AccountStore.forget_invites`."""
        await self._forget("DELETE FROM invites WHERE expires_hour <= ?", hour)

    async def _forget(self, statement: str, value: bytes | int) -> None:
        def work(tx: Transaction) -> None:
            tx.execute(statement, (value,))

        await self._db.write(work)

    async def states(
        self, accounts: Collection[AccountId]
    ) -> dict[AccountId, ChangeState]:
        """See `AccountStore.states`."""
        ids = "[" + ",".join(f'"{account.hex()}"' for account in accounts) + "]"

        def work(tx: Transaction) -> dict[AccountId, ChangeState]:
            return {
                AccountId(account): ChangeState(entries=entries, version=version)
                for account, entries, version in tx.execute(_STATES, (ids,))
            }

        return await self._read(work)

    async def _read(self, work: Callable[[Transaction], T]) -> T:
        """Run a short reading work at once: a thread would cost more than it."""
        with self._db.reading() as tx:
            return work(tx)


# -- parts of a transaction ----------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """How the rows of one table are deleted, by their key."""

    rows: str
    """The next keys, in order, each with the size of its row."""
    delete: str
    """All rows up to a key."""


# Bodies before the records that they belong to.
_STEPS: Final = (
    _Step(
        rows="SELECT client_id, seq, length(body) FROM bodies WHERE account_id = ?"
        " ORDER BY client_id, seq LIMIT ?",
        delete="DELETE FROM bodies WHERE account_id = ? AND (client_id, seq) <= (?, ?)",
    ),
    _Step(
        rows="SELECT client_id, seq, 0 FROM records WHERE account_id = ?"
        " ORDER BY client_id, seq LIMIT ?",
        delete="DELETE FROM records WHERE account_id = ?"
        " AND (client_id, seq) <= (?, ?)",
    ),
    _Step(
        rows="SELECT client_id, from_seq, 0 FROM erasures WHERE account_id = ?"
        " ORDER BY client_id, from_seq LIMIT ?",
        delete="DELETE FROM erasures WHERE account_id = ?"
        " AND (client_id, from_seq) <= (?, ?)",
    ),
    _Step(
        rows="SELECT version, length(document) FROM documents WHERE account_id = ?"
        " ORDER BY version LIMIT ?",
        delete="DELETE FROM documents WHERE account_id = ? AND version <= ?",
    ),
    _Step(
        rows="SELECT client_id, 0 FROM log_usage WHERE account_id = ?"
        " ORDER BY client_id LIMIT ?",
        delete="DELETE FROM log_usage WHERE account_id = ? AND client_id <= ?",
    ),
)


def _last_of_step(
    rows: Iterable[tuple[bytes | int, ...]],
) -> tuple[bytes | int, ...] | None:
    """Return the key up to which one step deletes; None: there are no rows."""
    last = None
    left = DELETE_BYTES_MAX
    for *key, size in rows:
        left -= int(size)
        if left < 0 and last is not None:
            break
        last = tuple(key)
    return last


def _delete_small(tx: Transaction, account: AccountId) -> None:
    """Delete what is little, and what would let somebody in."""
    for statement in (
        "DELETE FROM sessions WHERE account_id = ?",
        "DELETE FROM usernames WHERE account_id = ?",
        "DELETE FROM keys_blobs WHERE account_id = ?",
        "DELETE FROM usage WHERE account_id = ?",
        "DELETE FROM accounts WHERE account_id = ?",
    ):
        tx.execute(statement, (account,))


def _append_all(tx: Transaction, wanted: Sequence[_Append]) -> list[Appended | Refused]:
    """Do each append that is right, and refuse the others."""
    appends = Appends(tx)
    appends.look_up(
        (one.grant.account_id, record.header.client_id)
        for one in wanted
        for record in one.records
    )
    accesses = _accesses(tx, [one.grant for one in wanted])
    results: list[Appended | Refused] = []
    used: dict[bytes, Grant] = {}
    for one in wanted:
        try:
            access, quota_bytes = _required(accesses.get(_place(one.grant)), one.grant)
            if access.version != one.version:
                raise DocumentConflictError(
                    expected_version=access.version, got_version=one.version
                )
            results.append(
                appends.add(
                    one.grant.account_id,
                    one.records,
                    quota_bytes=(
                        one.quota_bytes if quota_bytes is None else quota_bytes
                    ),
                )
            )
            if access.session.seen_hour < one.grant.hour:
                used[one.grant.token_hash] = one.grant
        except ServerError as error:
            results.append(Refused(error))
    appends.write()
    for grant in used.values():
        _touch(tx, grant)
    return results


def _use_nonce(tx: Transaction, account: AccountId, nonce: bytes) -> None:
    tx.execute(
        "INSERT OR IGNORE INTO used_nonces (account_id, nonce) VALUES (?, ?)",
        (account, nonce),
    )
    if not tx.changes():
        raise ProofRefusedError


def _use_invite(tx: Transaction, invite_hash: bytes, hour: int) -> None:
    tx.execute(
        "DELETE FROM invites WHERE code_hash = ? AND expires_hour > ?",
        (invite_hash, hour),
    )
    if not tx.changes():
        raise InviteInvalidError


def _insert_session(tx: Transaction, account: AccountId, session: Session) -> None:
    """Insert a session; the ones unused for the longest make room for it."""
    tx.execute(
        "DELETE FROM sessions WHERE account_id = ?1 AND token_hash IN ("
        "SELECT token_hash FROM sessions WHERE account_id = ?1"
        " ORDER BY seen_hour DESC, created_hour DESC LIMIT -1 OFFSET ?2)",
        (account, SESSIONS_MAX - 1),
    )
    tx.execute(
        "INSERT INTO sessions"
        " (account_id, token_hash, client_id, created_hour, seen_hour)"
        " VALUES (?, ?, ?, ?, ?)",
        (
            account,
            session.token_hash,
            session.client_id,
            session.created_hour,
            session.seen_hour,
        ),
    )


def _touch(tx: Transaction, grant: Grant) -> None:
    tx.execute(
        "UPDATE sessions SET seen_hour = ?3"
        " WHERE account_id = ?1 AND token_hash = ?2 AND seen_hour < ?3",
        (grant.account_id, grant.token_hash, grant.hour),
    )


def _access(
    tx: Transaction, account: AccountId, token_hash: bytes
) -> tuple[Access, int | None] | None:
    row = tx.execute(_ACCESS, (account, token_hash)).fetchone()
    return None if row is None else _read_access(row)


def _read_access(row: tuple[Any, ...]) -> tuple[Access, int | None]:
    """Return a session and what decides on it, and the account's own quota."""
    _, token_hash, client, created, seen, standing, quota_bytes, version = row
    session = Session(
        token_hash=token_hash,
        client_id=ClientId(client),
        created_hour=created,
        seen_hour=seen,
    )
    access = Access(session=session, standing=Standing(standing), version=version)
    return access, quota_bytes


def _accesses(
    tx: Transaction, grants: Sequence[Grant]
) -> dict[tuple[AccountId, bytes], tuple[Access, int | None]]:
    """Return the sessions of grants, by their places, that are there."""
    places = list(dict.fromkeys(_place(grant) for grant in grants))
    return {
        (row[0], row[1]): _read_access(row)
        for row in rows_for(tx, _ACCESSES, _PLACE, places)
    }


def _place(grant: Grant) -> tuple[AccountId, bytes]:
    return grant.account_id, grant.token_hash


def _require_access(tx: Transaction, grant: Grant) -> tuple[Access, int | None]:
    return _required(_access(tx, grant.account_id, grant.token_hash), grant)


def _required(
    found: tuple[Access, int | None] | None, grant: Grant
) -> tuple[Access, int | None]:
    """Return a session that may be used, or raise why it may not."""
    if found is None or found[0].session.seen_hour < grant.seen_hour_min:
        raise SessionInvalidError
    if found[0].standing is not Standing.ACTIVE:
        raise AccountDisabledError
    return found


def _require_active(tx: Transaction, account: AccountId) -> None:
    for (standing,) in tx.execute(
        "SELECT standing FROM accounts WHERE account_id = ?", (account,)
    ):
        if standing != Standing.ACTIVE:
            raise AccountDisabledError
        return
    raise _unknown(account)


def _newest_version(tx: Transaction, account: AccountId) -> int:
    (version,) = _one(
        tx,
        "SELECT coalesce(max(version), 0) FROM documents WHERE account_id = ?",
        (account,),
    )
    return int(version)


def _accounts(
    tx: Transaction, where: str, values: tuple[bytes | int, ...]
) -> list[Account]:
    return [
        Account(
            account_id=AccountId(account),
            username=username,
            standing=Standing(standing),
            quota_bytes=quota_bytes,
            usage=Usage(entries=entries, stored_bytes=stored_bytes),
        )
        for account, username, standing, quota_bytes, entries, stored_bytes in (
            tx.execute(_ACCOUNTS + where, values)
        )
    ]


def _exists(tx: Transaction, statement: str, values: tuple[bytes | str, ...]) -> bool:
    return tx.execute(statement, values).fetchone() is not None


def _one(
    tx: Transaction, statement: str, values: tuple[bytes, ...] = ()
) -> tuple[Any, ...]:
    """Return the one row of a statement that always has one."""
    (row,) = tx.execute(statement, values).fetchall()
    return row


def _unknown(account: AccountId) -> AccountUnknownError:
    return AccountUnknownError(f'there is no account "{account.hex()}" on this host')
