"""The key that programs of this machine must show to the gateway, where one is set.

Without one, whoever can reach the port reads everything. It comes from a file that
its owner alone can read. ActivityWatch's clients find it in the configuration of one
of ActivityWatch's servers, which nobody but its owner writes.
"""

import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import platformdirs

from awvault.files import write_private
from awvault.secretfiles import SecretFileError, read_secret_text
from awvault.settings import (
    PORT_DEFAULT,
    PORT_TESTING_DEFAULT,
    Settings,
    make_private_directory,
)

API_KEY_CHARS_MIN: Final = 16
API_KEY_CHARS_MAX: Final = 512
API_KEY_FILE: Final = "api-key"
"""In the configuration directory, where no setting names another file."""

WARN_SECONDS_MIN: Final = 3600
"""Between two warnings that requests are refused: a watcher sends every second."""

log = logging.getLogger(__name__)

_WHAT: Final = "API key file"
_RANDOM_BYTES: Final = 32


class ApiKeyError(SecretFileError):
    """The file of the API key cannot be used, or there is one already."""


class ApiKey:
    """The key, as clients send it. It does not print."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Take the characters after `Bearer `; raises ValueError, never quoting them.

        A header holds them as they are, so none of them is a space.
        """
        if not API_KEY_CHARS_MIN <= len(text) <= API_KEY_CHARS_MAX:
            raise ValueError(
                f"has {len(text)} characters, must have {API_KEY_CHARS_MIN} to"
                f" {API_KEY_CHARS_MAX}"
            )
        if not all("!" <= character <= "~" for character in text):
            raise ValueError("holds a space, or what is not ASCII")
        self._text = text

    def reveal(self) -> str:
        """Return the characters, for its file and for who is to send them."""
        return self._text

    def matches(self, offered: str) -> bool:
        """Tell whether `offered` is this key, in constant time."""
        return secrets.compare_digest(
            self._text.encode("ascii"), offered.encode("utf-8", "replace")
        )

    def __repr__(self) -> str:
        return "<ApiKey redacted>"


class KeyRefusals:
    """How many requests did not show the key: whose sender may drop what it sent."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with none."""
        self.count = 0
        self.last: int | None = None
        """When the last one came, in seconds since 1970; None: none came."""
        self._clock = clock
        self._monotonic = monotonic
        self._warned: float | None = None

    def note(self) -> None:
        """Count one, and warn of it unless there was a warning in this hour."""
        self.count += 1
        self.last = int(self._clock())
        now = self._monotonic()
        if self._warned is None or now - self._warned >= WARN_SECONDS_MIN:
            self._warned = now
            log.warning(
                "requests that do not show the API key are refused, and what they"
                " bring may be lost: `awvault api-key show` says what clients need",
                extra={"refused": self.count},
            )


def api_key_file(settings: Settings) -> Path:
    """Return where the key is, or would be made."""
    return settings.api_key_file or settings.config_dir / API_KEY_FILE


def read_api_key(path: Path) -> ApiKey:
    """Return the key in a file; raises `ApiKeyError`.

    One that is empty is refused: it would look like a gateway that asks for a key.
    """
    text = read_secret_text(
        path,
        what=_WHAT,
        bytes_max=API_KEY_CHARS_MAX,
        hint="`awvault api-key new` makes one",
        error=ApiKeyError,
    )
    try:
        return ApiKey(text)
    except ValueError as error:
        raise ApiKeyError(
            f'{_WHAT} "{path}": the key {error}',
            hint="delete the file, and `awvault api-key new` makes another",
        ) from None


def make_api_key(path: Path) -> ApiKey:
    """Make a key, and write it to a new file; raises `ApiKeyError`."""
    key = ApiKey(secrets.token_urlsafe(_RANDOM_BYTES))
    if not path.parent.is_dir():
        make_private_directory(path.parent)
    try:
        write_private(path, f"{key.reveal()}\n".encode())
    except FileExistsError:
        raise ApiKeyError(
            f'there is an {_WHAT} already: "{path}"',
            hint="`awvault api-key show` says what clients need; delete the file first"
            " to make another key",
        ) from None
    except OSError as error:
        raise ApiKeyError(
            f'cannot write {_WHAT} "{path}": {error.strerror or error}'
        ) from error
    return key


def client_config(settings: Settings, key: ApiKey) -> tuple[Path, list[str]]:
    """Return the file in which ActivityWatch's clients look, and what it must say.

    They take the key from the server whose port there is the one they talk to.
    """
    name = "config-testing.toml" if settings.testing else "config.toml"
    usual = PORT_TESTING_DEFAULT if settings.testing else PORT_DEFAULT
    lines = [] if settings.port == usual else [f"port = {settings.port}", ""]
    lines += ["[auth]", f'api_key = "{_quoted(key.reveal())}"']
    directory = Path(platformdirs.user_config_dir("activitywatch"))
    return directory / "aw-server-rust" / name, lines


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
