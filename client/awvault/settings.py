"""The settings of the vault: where the data lies, where to listen, what to log.

One frozen `Settings`, read once at the start. Order: command line, environment
(`AWVAULT_*`), the file `config.toml` in the configuration directory, default.
An unknown key, in the file or in the environment, is an error: a setting that is
spelled wrong and silently ignored is worse than none.
docs/reference/cli.md lists every setting.
"""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

import platformdirs

from awvault.errors import Error, InvalidInputError
from awvault.files import others_can_change
from awvault.pages import missing_file

if TYPE_CHECKING:
    from awvault.filters import Rule

CONFIG_FILE: Final = "config.toml"
CONFIG_BYTES_MAX: Final = 64 * 1024
PORT_DEFAULT: Final = 5600
PORT_TESTING_DEFAULT: Final = 5666
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
CORS_ORIGINS_MAX: Final = 64
EXPORT_PERIODS: Final = ("hour", "day", "week")
EXPORT_FORMATS: Final = ("lines", "activitywatch", "csv", "parquet")
EXPORT_KEEP_DEFAULT: Final = 14
EXPORT_KEEP_MAX: Final = 10_000
SYNC_SCHEDULES: Final = ("live", "steady", "daily")
ENVIRONMENT_PREFIX: Final = "AWVAULT_"

# What config.toml may hold, and the variables that say the same. `config_dir`
# says where the file is, so only the environment can set it.
FILE_KEYS: Final = (
    "data_dir",
    "passphrase_file",
    "host",
    "port",
    "log_level",
    "sync_schedule",
    "api_key_file",
    "cors_origins",
    "webui",
    "webui_pages",
    "export_to",
    "export_every",
    "export_keep",
    "export_format",
)
ENVIRONMENT_KEYS: Final = (*FILE_KEYS, "config_dir")
# Rules are tables, which a variable cannot hold.
_ONLY_IN_FILE: Final = "privacy_filters"
# The file describes the real vault. A testing server must not open that vault, take
# its port or prune its exports because of it: these do not count under `--testing`.
_FILE_KEYS_NOT_FOR_TESTING: Final = frozenset({"data_dir", "port", "export_to"})

_SECRETS: Final = {
    "AWVAULT_PASSPHRASE": (
        "the passphrase itself is never taken from the environment:"
        " use AWVAULT_PASSPHRASE_FILE"
    ),
    "AWVAULT_API_KEY": (
        "the key itself is never taken from the environment: use AWVAULT_API_KEY_FILE"
    ),
}
# A scheme, and what comes before the first slash; no wildcard.
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@*]+")


_PAGE_NAME: Final = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z._-]{0,63}")


class SettingsError(Error):
    """A setting is unknown, malformed, or names something that cannot be used."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What the command line says. None: it says nothing."""

    data_dir: Path | None = None
    passphrase_file: Path | None = None
    host: str | None = None
    port: int | None = None
    log_level: str | None = None
    webui: Path | None = None
    testing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one run works with. Paths are absolute."""

    data_dir: Path
    config_dir: Path
    # True: nobody named the directory, so it is made with its parents.
    data_dir_is_default: bool
    passphrase_file: Path | None
    # A loopback address: the gateway shows plaintext.
    host: str
    # 0: any free port (for tests).
    port: int
    testing: bool
    log_level: str
    # When a vault with a remote host meets it: docs/protocol/sync.md, "When".
    sync_schedule: str
    # A file with the key that the gateway's clients must show. None: no key.
    api_key_file: Path | None = None
    # Web pages that may read and write, beside those that always may.
    cors_origins: tuple[str, ...] = ()
    # The built files of a web interface, served at /. None: none is served.
    webui: Path | None = None
    # Pages of watchers, served below /pages/: name and directory.
    webui_pages: tuple[tuple[str, Path], ...] = ()
    # What this machine keeps out, beside the rules of the account.
    privacy_filters: "tuple[Rule, ...]" = ()
    # Where aw-server writes exports, in plain text, by itself. None: nowhere.
    export_to: Path | None = None
    export_every: str = "day"
    # How many exports stay there.
    export_keep: int = EXPORT_KEEP_DEFAULT
    export_format: str = "lines"


def read_settings(
    overrides: Overrides | None = None,
    *,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings in force, or raise `SettingsError`.

    Reads the configuration file and makes nothing.
    """
    given = overrides if overrides is not None else Overrides()
    environ = _environment(os.environ if environment is None else environment)
    config_dir = _absolute(
        environ.get("config_dir") or platformdirs.user_config_dir("awvault")
    )
    file = _read_file(config_dir / CONFIG_FILE)
    if given.testing:
        file = {k: v for k, v in file.items() if k not in _FILE_KEYS_NOT_FOR_TESTING}

    def chosen(key: str, override: object) -> tuple[object, str]:
        """Return the value of highest precedence, and where it was said."""
        if override is not None:
            return override, f"--{key.replace('_', '-')}"
        if key in environ:
            return environ[key], ENVIRONMENT_PREFIX + key.upper()
        return file.get(key), f"{key} in {config_dir / CONFIG_FILE}"

    data_dir = _path(*chosen("data_dir", given.data_dir))
    host = _host(*chosen("host", given.host))
    port = _port(*chosen("port", given.port))
    if port is None:
        port = PORT_TESTING_DEFAULT if given.testing else PORT_DEFAULT
    return Settings(
        data_dir=data_dir or default_data_dir(testing=given.testing),
        config_dir=config_dir,
        data_dir_is_default=data_dir is None,
        passphrase_file=_path(*chosen("passphrase_file", given.passphrase_file)),
        host=host or "127.0.0.1",
        port=port,
        testing=given.testing,
        log_level=_one_of(LOG_LEVELS, *chosen("log_level", given.log_level)) or "info",
        sync_schedule=_one_of(SYNC_SCHEDULES, *chosen("sync_schedule", None))
        or "steady",
        api_key_file=_path(*chosen("api_key_file", None)),
        cors_origins=_origins(*chosen("cors_origins", None)),
        webui=_path(*chosen("webui", given.webui)),
        webui_pages=_pages(*chosen("webui_pages", None)),
        privacy_filters=_rules(
            file.get(_ONLY_IN_FILE), f"{_ONLY_IN_FILE} in {config_dir / CONFIG_FILE}"
        ),
        export_to=_path(*chosen("export_to", None)),
        export_every=_one_of(EXPORT_PERIODS, *chosen("export_every", None)) or "day",
        export_keep=_count(*chosen("export_keep", None)) or EXPORT_KEEP_DEFAULT,
        export_format=_one_of(EXPORT_FORMATS, *chosen("export_format", None))
        or "lines",
    )


def default_data_dir(*, testing: bool) -> Path:
    """Return the directory used when none is named. Never one of ActivityWatch's."""
    name = "awvault-testing" if testing else "awvault"
    return _absolute(platformdirs.user_data_dir(name))


def prepare_data_dir(settings: Settings) -> None:
    """Make the data directory (0700) where that cannot be a typing mistake.

    The default is made with its parents. A named one is made only inside a
    directory that exists. Raises `SettingsError`.
    """
    path = settings.data_dir
    if path.is_dir():
        return
    if path.exists():
        raise SettingsError(f'data directory "{path}" is not a directory')
    if not settings.data_dir_is_default and not path.parent.is_dir():
        raise SettingsError(
            f'parent of data directory "{path}" does not exist',
            hint="check the spelling, or make the parent directory first",
        )
    make_private_directory(path)


def check_webui(settings: Settings) -> None:
    """Raise `SettingsError` if what is to be served is no web interface.

    A directory that holds the vault or its passphrase would be shown to every
    page that is served here.
    """
    if settings.webui_pages and settings.webui is None:
        raise SettingsError(
            "webui_pages is set, and webui is not: pages are shown by an interface"
        )
    named = [] if settings.webui is None else [("webui", settings.webui)]
    named += [(f"webui_pages: {name}", path) for name, path in settings.webui_pages]
    for name, path in named:
        if not (path / "index.html").is_file():
            raise SettingsError(
                f'{name}: "{path}" has no index.html',
                hint="it must be the directory with the built files of the interface",
            )
        missing = missing_file(path / "index.html", settings.webui or path)
        if missing is not None:
            raise SettingsError(
                f'{name}: index.html loads "{missing}", which is not in "{path}"',
                hint="it must be the directory with all built files of the interface;"
                " the one in the aw-server package of the Python package index has no"
                " scripts",
            )
        for part in (path, path / "index.html"):
            if others_can_change(part.stat()):
                raise SettingsError(
                    f'{name}: another user of this machine can change "{part}", and'
                    " what is served there can read everything",
                    hint="copy the files into a directory of your own",
                )
        secrets = (settings.passphrase_file, settings.api_key_file)
        for secret in (settings.data_dir, settings.config_dir, *filter(None, secrets)):
            if secret.is_relative_to(path) or path.is_relative_to(secret):
                raise SettingsError(
                    f'{name}: "{path}" would show what is in "{secret}"',
                    hint="copy the files of the interface into a directory of"
                    " their own",
                )


def make_private_directory(path: Path) -> None:
    """Make `path` for its owner alone; missing parents as the system would."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f'cannot make directory "{path}": {error.strerror or error}'
        ) from error


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    known = {ENVIRONMENT_PREFIX + key.upper(): key for key in ENVIRONMENT_KEYS}
    found: dict[str, str] = {}
    for name, value in environment.items():
        # Windows gives every name in capitals; elsewhere case matters.
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        if name not in known:
            raise SettingsError(
                f'unknown environment variable "{name}"',
                hint=_SECRETS.get(name, "known are: " + ", ".join(sorted(known))),
            )
        if value:
            found[known[name]] = value
    return found


def _read_file(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            raw = file.read(CONFIG_BYTES_MAX + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(
            f'cannot read "{path}": {error.strerror or error}'
        ) from error
    if len(raw) > CONFIG_BYTES_MAX:
        raise SettingsError(f'"{path}" is larger than {CONFIG_BYTES_MAX} bytes')
    try:
        values = tomllib.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            f'"{path}" is not valid TOML: {error}',
            hint="a line is a key and a value, such as port = 5700",
        ) from error
    for key in values:
        if key not in (*FILE_KEYS, _ONLY_IN_FILE):
            raise SettingsError(
                f'unknown key "{key}" in {path}',
                hint="known are: " + ", ".join((*FILE_KEYS, _ONLY_IN_FILE)),
            )
    return values


def _path(value: object, origin: str) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str | Path) or not str(value):
        raise SettingsError(f"{origin} must be a path, got {value!r}")
    return _absolute(value)


def _pages(value: object, origin: str) -> tuple[tuple[str, Path], ...]:
    """Return names and directories: a table, or `name=directory,…` in a variable."""
    if value is None:
        return ()
    table: Mapping[object, object]
    if isinstance(value, str):
        parts = (part.partition("=") for part in value.split(","))
        table = {name.strip(): directory.strip() for name, _, directory in parts}
    elif isinstance(value, dict):
        table = value
    else:
        raise SettingsError(f"{origin} must be a table of directories, got {value!r}")
    found: list[tuple[str, Path]] = []
    for name, directory in table.items():
        if not isinstance(name, str) or not _PAGE_NAME.fullmatch(name):
            raise SettingsError(
                f"{origin}: a name is up to 64 letters, digits, dots, dashes and"
                f" underscores, got {name!r}"
            )
        path = _path(directory, f"{origin}: {name}")
        assert path is not None  # noqa: S101 - what was given is not None
        found.append((name, path))
    return tuple(found)


def _absolute(value: str | Path) -> Path:
    try:
        return Path(value).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise SettingsError(f'path "{value}" cannot be resolved: {error}') from error


def _host(value: object, origin: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise SettingsError(f"{origin} must be an address, got {value!r}")
    if value == "localhost":
        return "127.0.0.1"
    try:
        address = ip_address(value)
    except ValueError:
        raise SettingsError(
            f'{origin} must be a loopback address, got "{value}"',
            hint="use 127.0.0.1 or ::1",
        ) from None
    if not address.is_loopback:
        raise SettingsError(
            f'{origin} must be a loopback address, got "{value}": this server'
            " shows your data in plain text to whoever can reach it",
            hint="use 127.0.0.1 or ::1, and reach it from elsewhere through ssh -L",
        )
    return str(address)


def _port(value: object, origin: str) -> int | None:
    return _whole(value, origin, what="a port number", least=0, most=65535)


def _whole(
    value: object, origin: str, *, what: str, least: int, most: int
) -> int | None:
    if value is None:
        return None
    number = value
    if isinstance(value, str) and value.isascii() and value.isdigit():
        # Five digits are enough for any limit, and bound what int() must do.
        number = int(value[:6])
    if not isinstance(number, int) or isinstance(number, bool):
        raise SettingsError(f"{origin} must be {what}, got {value!r}")
    if not least <= number <= most:
        raise SettingsError(f"{origin} must be from {least} to {most}, got {value}")
    return number


def _origins(value: object, origin: str) -> tuple[str, ...]:
    """Return web origins; a list, or with commas between them."""
    if value is None:
        return ()
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise SettingsError(f"{origin} must be a list of origins, got {value!r}")
    found = tuple(one.strip().lower().rstrip("/") for one in given if one.strip())
    if len(found) > CORS_ORIGINS_MAX:
        raise SettingsError(
            f"{origin} has {len(found)} origins, at most {CORS_ORIGINS_MAX} are taken"
        )
    for one in found:
        if not _ORIGIN.fullmatch(one):
            raise SettingsError(
                f'{origin} must hold origins, got "{one}"',
                hint="an origin is such as https://example.org or"
                " chrome-extension://… with its id; there are no wildcards: any page"
                " could then read and write everything",
            )
    return found


def _rules(value: object, origin: str) -> "tuple[Rule, ...]":
    """Return privacy filters; one that is wrong ends the start."""
    if value is None:
        return ()
    from awvault.filters import convert_rules

    try:
        return convert_rules(value)
    except InvalidInputError as error:
        raise SettingsError(
            f"{origin}: {error}",
            hint="each rule is a table [[privacy_filters]]:"
            " docs/guide/privacy-filters.md",
        ) from None


def _count(value: object, origin: str) -> int | None:
    return _whole(value, origin, what="a number", least=1, most=EXPORT_KEEP_MAX)


def _one_of(known: Sequence[str], value: object, origin: str) -> str | None:
    if value is None:
        return None
    if value not in known:
        raise SettingsError(
            f"{origin} must be one of {', '.join(known)}, got {value!r}"
        )
    return str(value)
