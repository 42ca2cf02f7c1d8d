"""Logs: appending, reading, and where they end.

Both ways records are taken one after the other from the stream: a body of 64 MiB is
in memory once, as the records that it becomes, and an answer of any size is there
a page at a time.
"""

import logging
from collections.abc import Sequence

from aiohttp import web

from awserver import errors
from awserver.http import parameters
from awserver.http.answers import binary_answer, binary_stream, json_answer
from awserver.http.bodies import BinaryForm
from awserver.http.calls import Call, Endpoint, Parameter
from awserver.http.problems import BrokenOffError, log_failure
from awserver.records import SEQ_MAX, ClientId, SealedRecord, Seq
from awserver.storage.base import (
    APPEND_BYTES_MAX,
    APPEND_RECORDS_MAX,
    READ_BYTES_MAX,
)
from awserver.wire import (
    API_PATH,
    BINARY_TYPE,
    AppendAnswer,
    ClientsAnswer,
    FrameReader,
    HeadsAnswer,
    encode_frame,
)

log = logging.getLogger(__name__)

# A frame is a record and one byte.
FRAMES = BinaryForm(bytes_max=APPEND_BYTES_MAX + APPEND_RECORDS_MAX)


async def append(call: Call) -> web.StreamResponse:
    """Append the records of the body to the log of the path."""
    caller = await call.caller()
    client = parameters.client_id(call.request)
    records = await _records(call, client)
    answer = await call.service.logs.append(caller, client, records)
    return json_answer(answer, status=201 if answer.new else 200)


async def _records(call: Call, client: ClientId) -> list[SealedRecord]:
    frames = FrameReader()
    records: list[SealedRecord] = []
    async for chunk in call.chunks(FRAMES):
        for record in frames.feed(chunk):
            if record.header.client_id != client:
                raise errors.MalformedRecordError(
                    f"record {record.header.seq} is of client"
                    f" {record.header.client_id.hex()[:8]}, the path names"
                    f" {client.hex()[:8]}"
                )
            records.append(record)
        if len(records) > APPEND_RECORDS_MAX:
            raise errors.LimitExceededError(
                f"there are more than {APPEND_RECORDS_MAX} records, the most that"
                " are taken at once"
            )
    frames.end()
    if not records:
        raise errors.InvalidRequestError("there is no record in the body")
    return records


async def read(call: Call) -> web.StreamResponse:
    """Answer records of one log, page by page."""
    caller = await call.caller()
    client = parameters.client_id(call.request)
    after = parameters.number(call.request, "after", default=-1, least=-1)
    bytes_max = parameters.number(
        call.request, "max_bytes", default=READ_BYTES_MAX, most=READ_BYTES_MAX
    )
    bodies = parameters.flag(call.request, "bodies", default=True)
    if after >= SEQ_MAX:
        return binary_answer(b"")
    pages = call.service.logs.pages(
        caller, client, start=Seq(after + 1), bytes_max=bytes_max, bodies=bodies
    )
    first = await anext(pages, None)
    if first is None:
        return binary_answer(b"")
    second = await anext(pages, None)
    if second is None:
        return binary_answer(_frames(first))
    answer = binary_stream()
    await answer.prepare(call.request)
    if call.request.method == "HEAD":
        return answer
    try:
        # write() waits for a slow reader, so no more is read than is sent.
        await answer.write(_frames(first))
        await answer.write(_frames(second))
        async for page in pages:
            await answer.write(_frames(page))
        await answer.write_eof()
    except ConnectionError:
        raise
    except Exception as error:
        # The status is long sent: only an end that is too early says so.
        log_failure(log, error)
        raise BrokenOffError("the answer was broken off") from error
    return answer


def _frames(page: Sequence[SealedRecord]) -> bytes:
    return b"".join([encode_frame(record) for record in page])


async def get_heads(call: Call) -> web.StreamResponse:
    """Answer where every log ends."""
    caller = await call.caller()
    return json_answer(await call.service.logs.heads(caller))


async def get_clients(call: Call) -> web.StreamResponse:
    """Answer every client that the account document names."""
    caller = await call.caller()
    return json_answer(await call.service.logs.clients(caller))


ENDPOINTS = (
    Endpoint(
        method="POST",
        path=f"{API_PATH}/logs/{{client}}",
        summary="Append sealed records to the log of one client.",
        handler=append,
        token=True,
        body=FRAMES,
        statuses=(200, 201),
        answer=AppendAnswer,
        errors=(
            errors.ChainBrokenError,
            errors.ClientRevokedError,
            errors.ClientUnknownError,
            errors.DocumentConflictError,
            errors.EpochUnknownError,
            errors.MalformedRecordError,
            errors.QuotaExceededError,
            errors.RecordErasedError,
            errors.SeqConflictError,
            errors.SignatureInvalidError,
            errors.StoreReadOnlyError,
        ),
    ),
    Endpoint(
        method="GET",
        path=f"{API_PATH}/logs/{{client}}",
        summary="Records of one log, in order.",
        handler=read,
        token=True,
        parameters=(
            Parameter(
                name="after",
                about="only records with a seq above this; -1: from the first",
                default=-1,
                least=-1,
                most=SEQ_MAX,
            ),
            Parameter(
                name="max_bytes",
                about="stop before more than so many bytes; at least one record comes",
                default=READ_BYTES_MAX,
                most=READ_BYTES_MAX,
            ),
            Parameter(
                name="bodies",
                about="0: headers and signatures alone",
                default=1,
                most=1,
            ),
        ),
        answer=BINARY_TYPE,
    ),
    Endpoint(
        method="GET",
        path=f"{API_PATH}/heads",
        summary="The newest record of every log.",
        handler=get_heads,
        token=True,
        answer=HeadsAnswer,
    ),
    Endpoint(
        method="GET",
        path=f"{API_PATH}/clients",
        summary="Every client that the account document names.",
        handler=get_clients,
        token=True,
        answer=ClientsAnswer,
    ),
)
