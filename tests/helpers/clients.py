"""Several clients of one account, each with a vault of its own, and no network."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from awserver.records import ClientId, Head, Seq
from awvault.crypto.keys import ClientKey, Passphrase
from awvault.joining import make_vault
from awvault.opening import Composition
from awvault.protocol.account import OpenedAccount, open_keys, verify_documents
from awvault.protocol.edits import (
    AddClient,
    Edit,
    Intent,
    new_client_key,
    new_keystore,
)
from awvault.testing import CHEAP, COMPOSITION, PASSPHRASE, open_vault
from awvault.vault import Vault
from tests.helpers.randomness import Seeded

PAGE_BYTES = 1024 * 1024


@dataclass
class Account:
    """An account whose owner's secrets are at hand, and the vaults of its clients."""

    root: Path
    opened: OpenedAccount
    documents: list[bytes]
    keys_blob: bytes
    stack: AsyncExitStack
    composition: Composition = COMPOSITION
    random: Seeded = field(default_factory=lambda: Seeded("account"))
    passphrase: str = PASSPHRASE
    keys: list[ClientKey] = field(default_factory=list)
    """Of the clients that were added."""

    def edit(self, intent: Intent, *vaults: Vault) -> Edit:
        """Make the next version of the document; `vaults` say what was verified."""
        heads: dict[ClientId, Head] = {}
        for vault in vaults:
            heads |= vault.replica.heads()
        edit = intent.run(self.opened, heads=heads, profile=CHEAP, random=self.random)
        self.take(edit)
        return edit

    def take(self, edit: Edit) -> None:
        """Make a version the newest, opened with the passphrase as it is now."""
        self.documents.append(edit.document)
        if edit.keys_blob is not None:
            self.keys_blob = edit.keys_blob
        self.reopen()

    def reopen(self) -> None:
        """Open the newest version with the passphrase."""
        account_id = self.opened.account.document.account_id
        self.opened = open_keys(
            Passphrase(self.passphrase),
            verify_documents(account_id, self.documents),
            self.keys_blob,
            profile=CHEAP,
        )

    async def add(self, label: str) -> Path:
        """Add a client, and make its vault; return its directory."""
        key = new_client_key(self.opened, self.random)
        self.edit(AddClient(client=key, label=label))
        self.keys.append(key)
        path = self.root / f"client-{len(self.documents)}"
        path.mkdir(mode=0o700)
        await make_vault(
            path / "vault.db",
            account_id=self.opened.account.document.account_id,
            client_id=key.client_id,
            documents=self.documents,
            keys_blob=self.keys_blob,
            keystore=new_keystore(self.opened, self.opened.account, key, self.random),
        )
        return path

    async def join(self, label: str) -> Vault:
        """Add a client, and open its vault."""
        return await self.open(await self.add(label))

    async def open(self, path: Path) -> Vault:
        """Open the vault of a client until the account is closed."""
        return await self.stack.enter_async_context(
            await open_vault(
                path, passphrase=self.passphrase, composition=self.composition
            )
        )

    async def adopt(self, *vaults: Vault) -> None:
        """Give every document to some clients."""
        for vault in vaults:
            await vault.replica.adopt(self.documents, self.keys_blob)


@asynccontextmanager
async def account_of(
    root: Path, *, composition: Composition = COMPOSITION
) -> AsyncIterator[tuple[Account, Vault]]:
    """Give an account, and the vault of its first client, in a directory there is."""
    async with AsyncExitStack() as stack:
        vault = await open_vault(root / "first", composition=composition)
        await stack.enter_async_context(vault)
        account_id = vault.keys.account_id
        documents = await vault.store.documents(account_id)
        keys_blob = await vault.store.keys_blob(account_id)
        assert keys_blob is not None
        opened = open_keys(
            Passphrase(PASSPHRASE), vault.replica.account, keys_blob, profile=CHEAP
        )
        yield (
            Account(
                root=root,
                opened=opened,
                documents=documents,
                keys_blob=keys_blob,
                stack=stack,
                composition=composition,
            ),
            vault,
        )


async def pull(
    target: Vault, *sources: Vault, clients: Sequence[ClientId] | None = None
) -> int:
    """Let a client read what others hold, of all logs but its own.

    Returns the number of records that were accepted.
    """
    records = 0
    for source in sources:
        for client_id, head in source.replica.heads().items():
            if client_id == target.keys.client_id or (
                clients is not None and client_id not in clients
            ):
                continue
            while True:
                known = target.replica.heads().get(client_id)
                start = Seq(0 if known is None else known.seq + 1)
                if start > head.seq:
                    break
                page = await source.replica.read(
                    client_id, start=start, bytes_max=PAGE_BYTES
                )
                accepted = await target.replica.accept(client_id, page)
                records += accepted.records
    return records


async def seal_whole(vault: Vault) -> int:
    """Seal the whole journal, open events too."""
    return await vault.seal_now(whole=True)


async def exchange(*vaults: Vault) -> None:
    """Seal all that there is, and let every client read all the others."""
    for vault in vaults:
        await seal_whole(vault)
    for target in vaults:
        await pull(target, *(vault for vault in vaults if vault is not target))
