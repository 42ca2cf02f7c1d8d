"""The settings of a host: where its data lies, where it listens, who may register.

One frozen `HostSettings`, read once at the start. Order: command line, environment
(`AWSERVER_*`), the file, default. An unknown key, in the file or in the environment,
is an error: a setting that is spelled wrong and silently ignored is worse than none.
docs/operations/configuration.md lists every setting.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final, TypeVar

import platformdirs

from awserver.config import ORIGINS_MAX, Registration
from awserver.errors import InvalidRequestError, SettingsError
from awserver.origins import origin_of
from awserver.records import SEQ_MAX

CONFIG_FILE: Final = "config.toml"
CONFIG_BYTES_MAX: Final = 64 * 1024
ENVIRONMENT_PREFIX: Final = "AWSERVER_"
LISTEN_DEFAULT: Final = "127.0.0.1:5601"
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
CONNECTIONS_MAX: Final = 4_096
CONNECTIONS_PER_ADDRESS_MAX: Final = 256
CONNECTIONS_LIMIT: Final = 1_000_000
"""More than one process can hold; a larger number is a mistake."""
TRUSTED_PROXIES_MAX: Final = 64

_LISTEN: Final = re.compile(
    r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([^:\[\]]{1,253})):([0-9]{1,5})"
)

# Where an origin of a setting says it stands.
_NOBODY_SAID: Final = "default"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """An address and a port to listen on."""

    address: str
    port: int
    """0: any free port (for tests)."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return ip_address(self.address).is_loopback

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What the command line says. None, or nothing: it says nothing."""

    config: Path | None = None
    listen: str | None = None
    data_dir: Path | None = None
    origins: tuple[str, ...] = ()
    registration: str | None = None
    quota_bytes: int | None = None
    trusted_proxies: tuple[str, ...] = ()
    log_level: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """What one run of a host works with. Paths are absolute."""

    listen: Listen
    data_dir: Path
    data_dir_is_default: bool
    """Nobody named the directory, so it is made with its parents."""
    origins: tuple[str, ...]
    """Addresses that clients know this host by. Empty: where it listens."""
    registration: Registration
    quota_bytes: int | None
    connections_max: int
    connections_per_address_max: int
    trusted_proxies: tuple[str, ...]
    log_level: str
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where each setting was said, for `aw-server config show`."""

    @property
    def database(self) -> Path:
        """The file in which everything lies."""
        return self.data_dir / "host.db"

    @property
    def lock_file(self) -> Path:
        """Empty; who has it locked serves from the directory."""
        return self.data_dir / "host.lock"

    def shown(self) -> dict[str, str]:
        """Return every setting as text, by the name it has in the file."""
        quota = "none" if self.quota_bytes is None else str(self.quota_bytes)
        return {
            "listen": str(self.listen),
            "data_dir": str(self.data_dir),
            "origins": ", ".join(self.origins) or "(where it listens)",
            "registration": self.registration.value,
            "quota_bytes": quota,
            "connections_max": str(self.connections_max),
            "connections_per_address_max": str(self.connections_per_address_max),
            "trusted_proxies": ", ".join(self.trusted_proxies) or "(none)",
            "log_level": self.log_level,
        }


FILE_KEYS: Final = (
    "listen",
    "data_dir",
    "origins",
    "registration",
    "quota_bytes",
    "connections_max",
    "connections_per_address_max",
    "trusted_proxies",
    "log_level",
)
"""What the file may hold, and the variables that say the same."""

ENVIRONMENT_KEYS: Final = (*FILE_KEYS, "config")
"""`config` names the file, so the file cannot."""


def read_settings(
    overrides: Overrides | None = None,
    *,
    environment: Mapping[str, str] | None = None,
) -> HostSettings:
    """Return the settings in force, or raise `SettingsError`.

    Reads the configuration file and makes nothing.
    """
    given = overrides if overrides is not None else Overrides()
    environ = _environment(os.environ if environment is None else environment)
    path, named = _config_file(given, environ)
    file = _read_file(path, must_exist=named)
    sources: dict[str, str] = {}

    def chosen(
        key: str, override: object, parse: Callable[[object, str], T], default: T
    ) -> T:
        """Return the value of highest precedence, and note where it was said."""
        if override is not None and override != ():
            value, source = override, _option(key)
        elif key in environ:
            value, source = environ[key], ENVIRONMENT_PREFIX + key.upper()
        elif key in file:
            value, source = file[key], f"{key} in {path}"
        else:
            sources[key] = _NOBODY_SAID
            return default
        sources[key] = source
        return parse(value, source)

    data_dir: Path | None = chosen("data_dir", given.data_dir, _path, None)
    settings = HostSettings(
        listen=chosen(
            "listen", given.listen, _listen, _listen(LISTEN_DEFAULT, _NOBODY_SAID)
        ),
        data_dir=data_dir or default_data_dir(),
        data_dir_is_default=data_dir is None,
        origins=chosen("origins", given.origins, _origins, ()),
        registration=chosen(
            "registration", given.registration, _registration, Registration.CLOSED
        ),
        quota_bytes=chosen("quota_bytes", given.quota_bytes, _quota, None),
        connections_max=chosen("connections_max", None, _connections, CONNECTIONS_MAX),
        connections_per_address_max=chosen(
            "connections_per_address_max",
            None,
            _connections,
            CONNECTIONS_PER_ADDRESS_MAX,
        ),
        trusted_proxies=chosen("trusted_proxies", given.trusted_proxies, _networks, ()),
        log_level=chosen("log_level", given.log_level, _log_level, "info"),
        sources=sources,
    )
    if not settings.listen.is_loopback and not settings.origins:
        raise SettingsError(
            f"{sources['listen']} says {settings.listen}, which other machines reach,"
            " and nothing says by what address they know this host",
            hint="name it with --origin https://..., as people will type it; a proof"
            " that is meant for another host is refused",
        )
    return settings


def default_data_dir() -> Path:
    """Return the directory used when none is named."""
    return _absolute(platformdirs.user_data_dir("awserver"))


def prepare_data_dir(settings: HostSettings) -> None:
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f'cannot make directory "{path}": {error.strerror or error}'
        ) from error


# -- where a setting is said ---------------------------------------------------


def _option(key: str) -> str:
    singular = {"origins": "origin", "trusted_proxies": "trusted-proxy"}
    return "--" + singular.get(key, key.replace("_", "-"))


def _config_file(given: Overrides, environ: Mapping[str, str]) -> tuple[Path, bool]:
    """Return the file's path, and whether somebody named it."""
    if given.config is not None:
        return _absolute(given.config), True
    if "config" in environ:
        return _absolute(environ["config"]), True
    return _absolute(platformdirs.user_config_dir("awserver")) / CONFIG_FILE, False


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    known = {ENVIRONMENT_PREFIX + key.upper(): key for key in ENVIRONMENT_KEYS}
    found: dict[str, str] = {}
    for name, value in environment.items():
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        if name not in known:
            raise SettingsError(
                f'unknown environment variable "{name}"',
                hint="known are: " + ", ".join(sorted(known)),
            )
        if value:
            found[known[name]] = value
    return found


def _read_file(path: Path, *, must_exist: bool) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            raw = file.read(CONFIG_BYTES_MAX + 1)
    except FileNotFoundError:
        if must_exist:
            raise SettingsError(f'there is no file "{path}"') from None
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
            hint='a line is a key and a value, such as listen = "127.0.0.1:5601"',
        ) from error
    for key in values:
        if key not in FILE_KEYS:
            raise SettingsError(
                f'unknown key "{key}" in {path}',
                hint="known are: " + ", ".join(FILE_KEYS),
            )
    return values


# -- what a setting may be -----------------------------------------------------


def _path(value: object, source: str) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise SettingsError(f"{source} must be a path, got {value!r}")
    return _absolute(value)


def _absolute(value: str | Path) -> Path:
    try:
        return Path(value).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise SettingsError(f'path "{value}" cannot be resolved: {error}') from error


def _listen(value: object, source: str) -> Listen:
    match = _LISTEN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise SettingsError(
            f"{source} must be an address and a port, got {value!r}",
            hint="as in 127.0.0.1:5601, or [::1]:5601",
        )
    text = match[1] or match[2]
    if text == "localhost":
        text = "127.0.0.1"
    try:
        address = str(ip_address(text))
    except ValueError:
        raise SettingsError(
            f'{source} must name an IP address, got "{text}"',
            hint="127.0.0.1 is this machine alone, 0.0.0.0 every network it is in",
        ) from None
    port = int(match[3])
    if port > 65535:
        raise SettingsError(f"{source} must have a port from 0 to 65535, got {port}")
    return Listen(address=address, port=port)


def _texts(value: object, source: str, *, count_max: int) -> list[str]:
    """Return a list of texts; of the environment, what commas divide."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple) or not all(
        isinstance(one, str) for one in value
    ):
        raise SettingsError(f"{source} must be a list of texts, got {value!r}")
    if len(value) > count_max:
        raise SettingsError(
            f"{source} has {len(value)} entries, at most {count_max} are taken"
        )
    return list(value)


def _origins(value: object, source: str) -> tuple[str, ...]:
    found: list[str] = []
    for text in _texts(value, source, count_max=ORIGINS_MAX):
        try:
            found.append(origin_of(text))
        except InvalidRequestError as error:
            raise SettingsError(f"{source}: {error}") from None
    return tuple(dict.fromkeys(found))


def _networks(value: object, source: str) -> tuple[str, ...]:
    found: list[str] = []
    for text in _texts(value, source, count_max=TRUSTED_PROXIES_MAX):
        try:
            found.append(str(ip_network(text)))
        except ValueError:
            raise SettingsError(
                f'{source} must be addresses or networks, got "{text}"',
                hint="as in 127.0.0.1, or 10.0.0.0/8",
            ) from None
    return tuple(dict.fromkeys(found))


def _registration(value: object, source: str) -> Registration:
    names = [one.value for one in Registration]
    if value not in names:
        raise SettingsError(
            f"{source} must be one of {', '.join(names)}, got {value!r}"
        )
    return Registration(value)


def _log_level(value: object, source: str) -> str:
    if value not in LOG_LEVELS:
        raise SettingsError(
            f"{source} must be one of {', '.join(LOG_LEVELS)}, got {value!r}"
        )
    return str(value)


def _quota(value: object, source: str) -> int | None:
    return _number(value, source, most=SEQ_MAX)


def _connections(value: object, source: str) -> int:
    return _number(value, source, least=1, most=CONNECTIONS_LIMIT)


def _number(value: object, source: str, *, least: int = 0, most: int) -> int:
    number = value
    if isinstance(value, str) and value.isascii() and value.isdigit():
        # So many digits are enough for any number, and bound what int() must do.
        number = int(value[:20])
    if not isinstance(number, int) or isinstance(number, bool):
        raise SettingsError(f"{source} must be a whole number, got {value!r}")
    if not least <= number <= most:
        raise SettingsError(f"{source} must be from {least} to {most}, got {value}")
    return number
