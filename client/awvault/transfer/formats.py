"""The forms in which an export is written, made of its JSON lines.

CSV and Parquet have a row for each event: bucket, id, timestamp, duration and data,
the last as JSON text. Data differ from bucket to bucket, so no columns fit them all;
and as JSON text they begin with a brace, which no spreadsheet takes for a formula.
"""

import contextlib
import csv
import importlib
import io
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, Final

import msgspec

from awvault.errors import Error
from awvault.service import ExportRequest, counted
from awvault.transfer.lines import EventLine, decode_line

Write = Callable[[bytes], None]

COLUMNS: Final = ("bucket", "id", "timestamp", "duration", "data")
CSV_CHARS: Final = 64 * 1024
BATCH_ROWS: Final = 65_536
"""Rows of a Parquet file that are written at once."""


WAIT_SECONDS: Final = 0.5
"""How often it is looked whether what writes a Parquet file is still there."""


class FormatMissingError(Error):
    """What writes a format is not installed."""

    hint = 'install it: pip install ".[parquet]" in the sources, or pip install polars'


FORMS: Final = ("lines", "activitywatch", "csv", "parquet")


def request_for(request: ExportRequest, form: str) -> ExportRequest:
    """Return what to ask of a vault to write a form, which is made of its lines."""
    asked = "activitywatch" if form == "activitywatch" else "lines"
    return msgspec.structs.replace(request, form=asked)


def check_form(form: str) -> None:
    """Raise `FormatMissingError` where a form cannot be written here."""
    if form == "parquet":
        _polars()


@contextlib.contextmanager
def writer_for(form: str, file: BinaryIO) -> Iterator[Write]:
    """Give what takes the lines of an export, and writes them to `file`."""
    if form == "csv":
        rows = _Csv(file)
        yield rows.write
        rows.flush()
    elif form == "parquet":
        parquet = _Parquet(file)
        try:
            yield parquet.write
        except BaseException as error:
            parquet.end(error)
            raise
        parquet.end(None)
    else:
        yield lambda line: _write_line(file, line)


class Tally:
    """Counts what the lines of an export hold."""

    def __init__(self, form: str) -> None:
        """Begin with nothing."""
        self._is_lines = form != "activitywatch"
        self.buckets = 0
        self.events = 0

    def add(self, line: bytes) -> None:
        """Count one line as the vault gives it."""
        if self._is_lines:
            self.events += line.startswith(b'{"event":')
            self.buckets += line.startswith(b'{"bucket":')
        elif line.startswith((b'{"timestamp":', b',{"timestamp":')):
            # Nothing but the space between two events holds a line break.
            self.events += line.count(b"\n") + 1
        elif line.startswith((b'"', b',"')):
            self.buckets += 1

    def __str__(self) -> str:
        """Return it in words."""
        return f"{counted(self.events, 'event')} of {counted(self.buckets, 'bucket')}"


def _write_line(file: BinaryIO, line: bytes) -> None:
    file.write(line + b"\n")


class _Csv:
    """Gathers rows, and writes many at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._text = io.StringIO(newline="")
        self._rows = csv.writer(self._text)
        self._rows.writerow(COLUMNS)

    def write(self, line: bytes) -> None:
        event = _event(line)
        if event is None:
            return
        self._rows.writerow(
            (
                event.bucket,
                event.id,
                event.timestamp.isoformat(),
                "" if event.duration is None else str(event.duration),
                bytes(event.data).decode("utf-8"),
            )
        )
        if self._text.tell() >= CSV_CHARS:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        self._file.write(self._text.getvalue().encode("utf-8"))
        self._text.seek(0)
        self._text.truncate()


class _Parquet:
    """Gathers rows into batches, which polars writes in a thread of its own."""

    def __init__(self, file: BinaryIO) -> None:
        self._polars = _polars()
        self._rows: list[tuple[object, ...]] = []
        # None: there are no more. An exception: the export failed.
        self._batches: queue.Queue[Any] = queue.Queue(maxsize=1)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parquet")
        self._written = self._thread.submit(self._sink, file)

    def write(self, line: bytes) -> None:
        event = _event(line)
        if event is None:
            return
        duration = event.duration_us()
        self._rows.append(
            (
                event.bucket,
                event.id,
                event.start_us(),
                None if duration < 0 else duration,
                bytes(event.data).decode("utf-8"),
            )
        )
        if len(self._rows) >= BATCH_ROWS:
            self._put(self._batch())

    def end(self, error: BaseException | None) -> None:
        """Write what is left, or give up; the file is whole on return."""
        try:
            if error is None:
                self._put(self._batch())
            self._put(error)
            if error is None:
                self._written.result()
        finally:
            self._thread.shutdown()

    def _batch(self) -> Any:
        rows, self._rows = self._rows, []
        return self._polars.DataFrame(rows, schema=_schema(self._polars), orient="row")

    def _put(self, batch: Any) -> None:
        while not self._written.done():
            with contextlib.suppress(queue.Full):
                self._batches.put(batch, timeout=WAIT_SECONDS)
                return
        self._written.result()

    def _sink(self, file: BinaryIO) -> None:
        plugins = importlib.import_module("polars.io.plugins")
        schema = _schema(self._polars)

        def batches(*_: object) -> Iterator[Any]:
            while (batch := self._batches.get()) is not None:
                if isinstance(batch, BaseException):
                    raise batch
                yield batch

        plugins.register_io_source(batches, schema=schema).sink_parquet(file)


def _schema(pl: Any) -> dict[str, Any]:
    return {
        "bucket": pl.String,
        "id": pl.Int64,
        "timestamp": pl.Datetime("us", "UTC"),
        "duration": pl.Duration("us"),
        "data": pl.String,
    }


class _Tagged(msgspec.Struct, frozen=True, gc=False):
    event: EventLine


_EVENT: Final = msgspec.json.Decoder(_Tagged)


def _event(line: bytes) -> EventLine | None:
    """Return the event of a line; None: it holds something else."""
    if not line.startswith(b'{"event":'):
        return None
    try:
        return _EVENT.decode(line).event
    except msgspec.DecodeError:
        # It holds a lone surrogate, as titles may.
        found = decode_line(line)
        return found if isinstance(found, EventLine) else None


def _polars() -> Any:
    try:
        return importlib.import_module("polars")
    except ImportError as error:
        raise FormatMissingError(
            "Parquet is written by polars, which is not installed"
        ) from error
