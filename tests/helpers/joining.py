"""A move of a vault without a host: what `awvault.moving` does after a login."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from awvault import tables
from awvault.crypto.keys import Random
from awvault.crypto.slots import Ring
from awvault.joining import OnRecords, Resealed, joining_path, reseal, swap
from awvault.processes import DataDirectory
from awvault.sealing import Step
from awvault.unlocked import Unlocked


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What became of a vault that was moved into another account."""

    resealed: Resealed
    kept: Path
    """The old database, read-only."""


async def move(
    directory: DataDirectory,
    keys: Unlocked,
    *,
    ring: Ring,
    random: Random,
    step: Step = lambda _: None,
    on_records: OnRecords = lambda _, __: None,
) -> Moved:
    """Move the vault of a directory into the account of the new database there.

    The new database was made at `joining_path`, and `ring` is its account's. The
    vault is closed, `keys` are those that it was opened with, and the caller holds
    the directory. Called again after a kill, it goes on. Raises as `reseal`.
    """
    async with tables.opened(directory.database, create=False) as source:
        resealed = await reseal(
            source,
            keys,
            joining_path(directory),
            ring=ring,
            random=random,
            step=step,
            on_records=on_records,
        )
    kept = await asyncio.to_thread(swap, directory, keys.account_id, step=step)
    return Moved(resealed=resealed, kept=kept)
