"""Making a vault, and opening one: from a passphrase to keys.

Order matters here. The database is opened and the account document verified
before Argon2 runs, so that a damaged file is not mistaken for a wrong
passphrase; and nothing is created where something is already there.
"""

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from awserver.records import AccountId
from awserver.storage.sqlite.database import Database, Probe, Transaction
from awserver.storage.sqlite.logs import SqliteLogStore
from awvault import tables
from awvault.crypto.keys import Passphrase, Random
from awvault.crypto.passphrase import STANDARD, Profile
from awvault.crypto.slots import Ring
from awvault.errors import (
    DocumentError,
    RollbackError,
    SealError,
    VaultDamagedError,
    WrongPassphraseError,
)
from awvault.passphrases import (
    PROMPT_TRIES,
    FoundPassphrase,
    Source,
    StagedPassphraseError,
    Terminal,
    ask_again,
    find_passphrase,
    generated_file,
    holds,
    promote_staged,
    read_passphrase_file,
    stage_passphrase,
    staged_file,
    wrong_passphrase,
)
from awvault.pending import forget_if_opened
from awvault.processes import DataDirectory
from awvault.protocol.account import (
    Keystore,
    VerifiedAccount,
    create_account,
    open_account,
    open_keystore,
    verify_documents,
)
from awvault.protocol.document import decode_document, hash_keys_blob
from awvault.settings import Overrides, Settings, prepare_data_dir, read_settings
from awvault.unlocked import Standing, Unlock, Unlocked
from awvault.vault import Clock, Vault, wall_clock_us

log = logging.getLogger(__name__)

LOCAL_USERNAME: Final = "local"
"""The username of an account that no remote host knows."""

LABEL_CHARS_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """What a composition root chooses; the defaults are the product.

    Only `awvault.testing` chooses anything else: no setting reaches here.
    """

    profile: Profile = STANDARD
    random: Random = secrets.token_bytes
    clock: Clock = wall_clock_us
    step: Callable[[str], None] = lambda _: None
    probe: Probe | None = None
    compression: bool = True


PRODUCT: Final = Composition()

Serve = Callable[[Database], AbstractAsyncContextManager[None]]
"""Serves from the database of a vault for as long as its context lasts."""


def has_vault(directory: DataDirectory) -> bool:
    """Tell whether there is a vault: a database that is not empty."""
    files = (
        directory.database,
        directory.database.with_name(directory.database.name + "-wal"),
    )
    return any(file.exists() and file.stat().st_size for file in files)


async def open_found(
    settings: Settings,
    directory: DataDirectory,
    found: FoundPassphrase,
    *,
    terminal: Terminal | None,
    composition: Composition = PRODUCT,
    on_make: Callable[[], None] = lambda: None,
    serve: Serve | None = None,
) -> Vault:
    """Open the vault, or make it, with a passphrase that was found.

    A person who mistyped it is asked again, `PROMPT_TRIES` times in all; the
    event loop stands still meanwhile. Raises `WrongPassphraseError`, which names
    where the passphrase came from. `on_make` is called before a vault is made.
    """
    for tries_left in reversed(range(PROMPT_TRIES)):
        try:
            return await open_vault(
                directory,
                found.passphrase,
                composition,
                on_make=on_make,
                on_new_secret=partial(follow_new_secret, settings, found),
                serve=serve,
            )
        except WrongPassphraseError:
            if found.source is Source.GENERATED_FILE:
                return await _open_staged(directory, found, composition)
            if found.source is not Source.PROMPT or terminal is None or not tries_left:
                raise wrong_passphrase(found) from None
            found = ask_again(settings, terminal)
    raise AssertionError("the last try returns or raises")


async def _open_staged(
    directory: DataDirectory, found: FoundPassphrase, composition: Composition
) -> Vault:
    """Open the vault with the passphrase that a change has left beside the file.

    The change took place, and the file was not replaced before the program ended.
    """
    if found.path is None or not staged_file(found.path).exists():
        raise wrong_passphrase(found)
    staged = read_passphrase_file(staged_file(found.path))
    try:
        vault = await open_vault(directory, staged, composition)
    except WrongPassphraseError:
        raise wrong_passphrase(found) from None
    promote_staged(found.path)
    return vault


def follow_new_secret(settings: Settings, found: FoundPassphrase) -> None:
    """Let the generated file of a directory hold what unlocks there from now on.

    Where a person or another file gave the account's new passphrase, the next start
    that nobody attends would find the old one. Before the vault's own row changes:
    a start between the two proves the new one again.
    """
    path = generated_file(settings)
    if found.source is Source.GENERATED_FILE or not path.exists():
        return
    if holds(path, found.passphrase):
        return
    try:
        stage_passphrase(path, found.passphrase)
    except StagedPassphraseError:
        # Another one lies there, of a change that is not settled: it stays.
        log.warning(
            "a generated passphrase file is outdated", extra={"file": str(path)}
        )
    else:
        promote_staged(path)


async def open_vault(
    directory: DataDirectory,
    passphrase: Passphrase,
    composition: Composition = PRODUCT,
    *,
    on_make: Callable[[], None] = lambda: None,
    on_new_secret: Callable[[], None] = lambda: None,
    serve: Serve | None = None,
) -> Vault:
    """Open the vault in a directory that the caller holds; make it if need be.

    Argon2 runs in a thread, for a second or so. `on_make` is called before a
    vault is made, and `on_new_secret`, in a thread, before a passphrase that was
    changed elsewhere is what unlocks here; `serve`, which needs no key, is entered
    before Argon2 runs.
    """
    async with contextlib.AsyncExitStack() as resources:
        database = await asyncio.to_thread(
            Database.open,
            directory.database,
            create=not directory.has_vault(),
            probe=composition.probe,
        )
        resources.push_async_callback(database.close)
        store = SqliteLogStore(database)
        await asyncio.to_thread(tables.prepare, database)
        with database.reading() as tx:
            made = tables.vault_row(tx) is not None
        if not made:
            if await store.accounts():
                raise VaultDamagedError(
                    "the database holds an account, and not the keys of its client:"
                    " restore it from a backup"
                )
            on_make()
            await _make(database, store, passphrase, composition)
        if serve is not None:
            await resources.enter_async_context(serve(database))
        unlocked, is_new = await asyncio.to_thread(
            unlock, database, store, passphrase, composition.profile
        )
        if is_new:
            await asyncio.to_thread(on_new_secret)
            row = unlocked.vault_row(unlocked.standing, composition.random)
            await database.write(partial(tables.put_vault_row, row=row))
        vault = Vault(
            database,
            unlocked,
            profile=composition.profile,
            random=composition.random,
            clock=composition.clock,
            step=composition.step,
            compression=composition.compression,
        )
        await vault.start()
        await asyncio.to_thread(forget_if_opened, directory.path, unlocked.client_id)
        vault.release_on_close(resources.pop_all())
        return vault


async def _make(
    database: Database,
    store: SqliteLogStore,
    passphrase: Passphrase,
    composition: Composition,
) -> None:
    """Create the account of a new vault, with this one client, in one commit."""
    new = await asyncio.to_thread(
        create_account,
        passphrase,
        username=LOCAL_USERNAME,
        client_label=socket.gethostname()[:LABEL_CHARS_MAX],
        profile=composition.profile,
        random=composition.random,
    )

    def work(tx: Transaction) -> None:
        store.put_document_within(
            tx,
            new.account_id,
            version=1,
            document=new.document,
            document_hash=new.document_hash,
            keys_blob=new.keys_blob,
        )
        tables.put_vault_row(
            tx,
            tables.VaultRow(
                account_id=new.account_id,
                client_id=new.client_id,
                keystore=new.keystore,
                unlock_version=1,
                unlock_blob=new.keys_blob,
            ),
        )

    await database.write(work)


def unlock(
    database: Database, store: SqliteLogStore, passphrase: Passphrase, profile: Profile
) -> tuple[Unlocked, bool]:
    """Return the keys of the vault in `database`. Runs Argon2: use a thread.

    The passphrase may be the one that unlocked here before, or the account's
    newest, where another client has changed it. Return also whether the vault's
    row says something else now, and is to be written.

    Raises `IntegrityError` if the account documents are not in order,
    `WrongPassphraseError` if the passphrase is neither.
    """
    with database.reading() as tx:
        row = tables.vault_row(tx)
        if row is None:
            raise VaultDamagedError("the database holds no vault")
        documents = store.documents_within(tx, row.account_id)
        keys_blob = store.keys_blob_within(tx, row.account_id)
    if not documents or keys_blob is None:
        raise VaultDamagedError(
            f"the database holds {len(documents)} account documents and"
            f" {'a' if keys_blob else 'no'} keys blob: restore them from a backup"
        )
    account_id = AccountId(row.account_id)
    whole = verify_documents(account_id, documents)
    if hash_keys_blob(keys_blob) != whole.document.keys_blob_hash:
        raise DocumentError("the keys blob is not the one that the document names")
    account, keys_blob, ring = _open_one(
        _unlocks(row, account_id, documents, whole, keys_blob), passphrase, profile
    )
    # Documents of a later epoch than the passphrase opens are not believed yet.
    epoch = account.document.epoch
    believed = whole
    if whole.document.epoch != epoch:
        until = sum(decode_document(data).document.epoch <= epoch for data in documents)
        believed = verify_documents(account_id, documents[:until])
    keystore = _open_keystore(row, ring)
    believed.check_pin(keystore.pin)
    standing = Standing.of(
        believed,
        ring,
        awaiting=None if believed is whole else whole,
        unlock=Unlock.of(account, keys_blob),
    )
    is_new = (
        (row.unlock_version, row.unlock_blob) != (account.document.version, keys_blob)
        or keystore.pin != believed.pin
        or len(keystore.ring) != len(ring)
    )
    return Unlocked(standing, keystore), is_new


_Unlocks = list[tuple[VerifiedAccount, bytes]]
"""Account documents and keys blobs, in the order in which they are tried."""


def _unlocks(
    row: tables.VaultRow,
    account_id: AccountId,
    documents: list[bytes],
    whole: VerifiedAccount,
    keys_blob: bytes,
) -> _Unlocks:
    """Return what unlocks here, then the account's newest if that is another."""
    version, blob = row.unlock_version, row.unlock_blob
    if version is None or blob is None:
        return [(whole, keys_blob)]
    if not 1 <= version <= len(documents):
        raise RollbackError(
            "account document", verified=version, offered=len(documents)
        )
    here = verify_documents(account_id, documents[:version]), blob
    if blob == keys_blob:
        return [here]
    return [here, (whole, keys_blob)]


def _open_one(
    unlocks: _Unlocks, passphrase: Passphrase, profile: Profile
) -> tuple[VerifiedAccount, bytes, Ring]:
    """Return the first that the passphrase opens, and the ring of epoch keys."""
    for account, keys_blob in unlocks:
        try:
            ring = open_account(passphrase, account, keys_blob, profile=profile)
        except WrongPassphraseError:
            continue
        return account, keys_blob, ring
    raise WrongPassphraseError


def _open_keystore(row: tables.VaultRow, ring: Ring) -> Keystore:
    """Return the keystore, which is sealed under this epoch or one before.

    It is of one before where a start is the first with the secret of a new epoch.
    """
    newest = max(ring)
    for epoch in range(newest, -1, -1):
        try:
            return open_keystore(
                ring[epoch], row.account_id, row.client_id, row.keystore
            )
        except SealError:
            if epoch == 0:
                raise
    raise AssertionError("a ring begins with epoch 0")


async def open_for_library(
    data_dir: Path,
    *,
    passphrase: str | None,
    passphrase_file: str | Path | None,
    composition: Composition = PRODUCT,
) -> Vault:
    """Return what `Vault.open` returns: the directory is held until it closes."""
    settings = read_settings(
        Overrides(
            data_dir=data_dir,
            passphrase_file=None if passphrase_file is None else Path(passphrase_file),
        )
    )
    prepare_data_dir(settings)
    async with contextlib.AsyncExitStack() as resources:
        directory = DataDirectory(settings.data_dir)
        resources.enter_context(directory.acquire())
        vault = (
            await open_vault(directory, Passphrase(passphrase), composition)
            if passphrase is not None
            else await open_found(
                settings,
                directory,
                find_passphrase(
                    settings, vault_exists=has_vault(directory), terminal=None
                ),
                terminal=None,
                composition=composition,
            )
        )
        vault.release_on_close(resources.pop_all())
        return vault
