"""Ask a running host whether it serves, for whoever watches over it."""

import http.client
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from awserver.errors import SettingsError

TIMEOUT_SECONDS: Final = 5.0
PATH: Final = "/readyz"
EXIT_UNREACHABLE: Final = 3

_OK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What was found, and the exit status that says so."""

    words: str
    exit_status: int


def check(url: str) -> Health:
    """Return whether the host at this address serves. Raises `SettingsError`."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SettingsError(f'"{url}" is not an address') from None
    if parts.scheme not in {"http", "https"} or not host:
        raise SettingsError(
            f'"{url}" is not an address', hint="as in http://127.0.0.1:5601"
        )
    # 0.0.0.0 is where a host listens, not where one can be reached.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    kind = (
        http.client.HTTPSConnection
        if parts.scheme == "https"
        else http.client.HTTPConnection
    )
    connection = kind(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", PATH)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return Health(
            words=f"no answer from {url}: {type(error).__name__}",
            exit_status=EXIT_UNREACHABLE,
        )
    finally:
        connection.close()
    if status != _OK:
        return Health(words=f"{url} answers {status}", exit_status=1)
    return Health(words="ready", exit_status=0)
