"""Taking note of what came into the vault's own store through /api/1.

In localhost mode a host's API writes to the store that the vault reads from. It
checked signatures, places and order; what it took is believed here only after it was
verified as if a remote host had sent it.
"""

import asyncio
import logging
from typing import Final

from awserver.errors import ServerError
from awserver.records import AccountId, ClientId, Head, Seq
from awvault.errors import Error, NewSecretNeededError
from awvault.vault import Vault

PAGE_BYTES: Final = 4 * 1024 * 1024
"""Of records that are verified and shown at once."""

log = logging.getLogger(__name__)


class Noticer:
    """Looks into the store whenever it is woken. Belongs to one event loop."""

    def __init__(self) -> None:
        """Begin awake: there may be something since before."""
        self._woken = asyncio.Event()

    def wake(self, _account: AccountId) -> None:
        """Say that something came."""
        self._woken.set()

    async def run(self, vault: Vault) -> None:
        """Take note, now and whenever woken, until cancelled."""
        while True:
            self._woken.clear()
            try:
                await take_note(vault)
            except (Error, ServerError) as error:
                _complain("what came through the host API is not shown", error)
            await self._woken.wait()


async def take_note(vault: Vault) -> None:
    """Verify and show every document and record that the vault does not know yet.

    What is wrong in one log stops that log alone, and is logged.
    """
    replica, store = vault.replica, vault.store
    account_id = vault.keys.account_id
    version, _ = replica.account.pin
    documents = await store.documents(account_id, start_version=version + 1)
    if documents:
        try:
            await replica.adopt(documents, await store.keys_blob(account_id))
        except NewSecretNeededError as error:
            _complain("the passphrase was changed through the host API", error)
    known = replica.heads()
    for client_id, head in (await store.heads(account_id)).items():
        if client_id == vault.keys.client_id:
            continue
        try:
            await _take_log(vault, client_id, known.get(client_id), head)
        except (Error, ServerError) as error:
            _complain("a log from the host API is not shown", error)


async def _take_log(
    vault: Vault, client_id: ClientId, known: Head | None, head: Head
) -> None:
    start = Seq(0 if known is None else known.seq + 1)
    while start <= head.seq:
        page = await vault.store.read(
            vault.keys.account_id, client_id, start=start, bytes_max=PAGE_BYTES
        )
        if not page:
            return
        await vault.replica.accept(client_id, page)
        start = Seq(page[-1].header.seq + 1)


def _complain(words: str, error: Exception) -> None:
    # The text of an error may name a bucket.
    log.warning(words, extra={"kind": type(error).__name__})
