"""A process whose files may not grow past a limit, which then is lifted.

    python -m tests.helpers.full_disk DIRECTORY

Prints one line of JSON: what happened.
"""

import asyncio
import json
import resource
import sys
from pathlib import Path

from awserver.errors import ServerError, StorageFullError
from awserver.records import SealedRecord, Seq
from awserver.storage.sqlite import logs
from awserver.storage.sqlite.database import Database
from awserver.storage.sqlite.logs import SqliteLogStore
from tests.helpers.records import ACCOUNT, CLIENT, chain

BODY = bytes(20_000)


def limit_files(size: int) -> None:
    """Let no file of this process grow longer; Python ignores SIGXFSZ."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


async def fill(
    store: SqliteLogStore, records: list[SealedRecord]
) -> tuple[int, ServerError | None]:
    """Append one by one until it fails; return how many were stored."""
    for at, record in enumerate(records):
        try:
            await store.append(ACCOUNT, [record])
        except ServerError as error:
            return at, error
    return len(records), None


async def main(directory: Path) -> None:
    """Meet the limit alone and in a group, then go on without it."""
    database = Database.open(directory / "host.db", create=True)
    logs.migrate(database)
    store = SqliteLogStore(database)
    records = chain(60, body=BODY)
    limit_files(500_000)
    stored, error = await fill(store, records)
    group = await asyncio.gather(
        *(store.append(ACCOUNT, [one]) for one in records[stored : stored + 5]),
        return_exceptions=True,
    )
    readable = await store.read(ACCOUNT, CLIENT, start=Seq(0))
    limit_files(resource.RLIM_INFINITY)
    rest, rest_error = await fill(store, records[stored:])
    await database.close()
    print(  # noqa: T201
        json.dumps(
            {
                "stored": stored,
                "error": type(error).__name__,
                "message": str(error),
                "group": [isinstance(one, StorageFullError) for one in group],
                "readable": len(readable),
                "total": stored + rest,
                "rest_error": None if rest_error is None else str(rest_error),
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
