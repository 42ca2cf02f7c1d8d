"""How the program logs: to standard error, JSON where no person watches.

A message is a constant phrase; its facts are in `extra`. Nothing that is sealed,
no key, no token and no full address is ever logged, whatever the level.
"""

import json
import logging
import sys
import time
from typing import Final, TextIO

# What every record has; anything else was given as `extra`.
_STANDARD: Final = frozenset(
    vars(logging.makeLogRecord({})) | {"message": "", "asctime": "", "taskName": ""}
)


def configure_logging(level: str, *, stream: TextIO | None = None) -> None:
    """Send log records of `level` and above to `stream`, standard error by default."""
    target = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(target)
    handler.setFormatter(TextFormatter() if target.isatty() else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # It logs the bytes of requests that do not parse: they may hold anything.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {k: v for k, v in vars(record).items() if k not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        } | _extra(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """One line for a person; JSON's escapes keep control characters out of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        facts = " ".join(
            f"{name}={json.dumps(value, default=str)}"
            for name, value in _extra(record).items()
        )
        line = f"{moment} {record.levelname.lower():<7} {record.getMessage()}"
        if facts:
            line = f"{line} ({facts})"
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return line
