"""The settings of a host: where they may be said, and what they may be."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import platformdirs
import pytest

from awserver import settings
from awserver.config import Registration
from awserver.errors import SettingsError
from awserver.settings import (
    ENVIRONMENT_KEYS,
    FILE_KEYS,
    HostSettings,
    Overrides,
    prepare_data_dir,
    read_settings,
)

PAGE: Final = Path(__file__).parents[3] / "docs" / "operations" / "configuration.md"


def read(
    tmp_path: Path,
    text: str = "",
    *,
    overrides: dict[str, Any] | None = None,
    **env: str,
) -> HostSettings:
    """Read settings from a file, variables without their prefix, and options."""
    file = tmp_path / "config.toml"
    file.write_text(text)
    return read_settings(
        Overrides(config=file, **(overrides or {})),
        environment={f"AWSERVER_{name.upper()}": value for name, value in env.items()},
    )


def test_the_defaults_are_safe(tmp_path: Path) -> None:
    """Without a word, a host listens to this machine alone and takes nobody new."""
    found = read(tmp_path)

    assert str(found.listen) == "127.0.0.1:5601"
    assert found.listen.is_loopback
    assert found.registration is Registration.CLOSED
    assert found.origins == ()
    assert found.trusted_proxies == ()
    assert found.quota_bytes is None
    assert found.data_dir_is_default
    assert found.data_dir == Path(platformdirs.user_data_dir("awserver")).resolve()
    assert set(found.sources.values()) == {"default"}


def test_what_is_said_closer_counts(tmp_path: Path) -> None:
    """Command line before environment before file before default."""
    text = 'registration = "open"\nlog_level = "debug"\nquota_bytes = 1\n'

    found = read(
        tmp_path,
        text,
        overrides={"registration": "invite"},
        registration="closed",
        log_level="error",
    )

    assert found.registration is Registration.INVITE
    assert found.log_level == "error"
    assert found.quota_bytes == 1
    assert found.sources["registration"] == "--registration"
    assert found.sources["log_level"] == "AWSERVER_LOG_LEVEL"
    assert found.sources["quota_bytes"].startswith("quota_bytes in ")


def test_each_setting_can_be_said_in_the_file_and_the_environment(
    tmp_path: Path,
) -> None:
    """File and environment understand the same keys, and mean the same by them."""
    values = {
        "listen": "[::1]:7000",
        "data_dir": str(tmp_path / "data"),
        "origins": "https://a.example,https://b.example:8443",
        "registration": "invite",
        "quota_bytes": "1000",
        "connections_max": "10",
        "connections_per_address_max": "5",
        "trusted_proxies": "127.0.0.1,10.0.0.0/8",
        "log_level": "warning",
    }
    assert set(values) == set(FILE_KEYS)
    lists = {"origins", "trusted_proxies"}
    numbers = {"quota_bytes", "connections_max", "connections_per_address_max"}
    lines = [
        f"{key} = {value.split(',')!r}"
        if key in lists
        else f"{key} = {value}"
        if key in numbers
        else f'{key} = "{value}"'
        for key, value in values.items()
    ]

    by_file = read(tmp_path, "\n".join(lines))
    by_environment = read(tmp_path, overrides=None, **values)

    assert by_file.shown() == by_environment.shown()
    assert by_file.origins == ("https://a.example", "https://b.example:8443")
    assert by_file.trusted_proxies == ("127.0.0.1/32", "10.0.0.0/8")
    assert str(by_file.listen) == "[::1]:7000"
    assert set(by_file.shown()) == set(FILE_KEYS)
    assert set(by_file.sources) == set(FILE_KEYS)


@pytest.mark.parametrize(
    "text",
    [
        "unknown = 1",
        "listen = 5601",
        'listen = "5601"',
        'listen = ":5601"',
        'listen = "127.0.0.1"',
        'listen = "127.0.0.1:70000"',
        'listen = "example.org:5601"',
        'listen = "::1:5601"',
        'registration = "yes"',
        "registration = true",
        'quota_bytes = "-1"',
        "quota_bytes = -1",
        "quota_bytes = 1.5",
        "quota_bytes = true",
        "connections_max = 0",
        f"connections_max = {10**30}",
        'origins = ["ftp://example.org"]',
        'origins = ["https://user:pass@example.org"]',
        'origins = ["example.org"]',
        "origins = [1]",
        f"origins = {[f'https://{n}.example' for n in range(9)]}",
        'trusted_proxies = ["example.org"]',
        'trusted_proxies = ["10.0.0.1/8"]',
        'log_level = "loud"',
        'data_dir = ""',
        "data_dir = 1",
        "no toml",
        "x" * 100_000,
        'listen = "0.0.0.0:5601"',
        'listen = "[::]:5601"',
        'listen = "192.0.2.1:5601"',
    ],
)
def test_what_is_wrong_is_an_error(tmp_path: Path, text: str) -> None:
    """A wrong value, an unknown key, an open address with no origin: each says so."""
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)

    said = str(caught.value)
    assert said.splitlines()[0][:1].islower() or said.startswith('"')
    assert not said.endswith(".")


def test_an_unknown_variable_is_an_error(tmp_path: Path) -> None:
    """A variable that is spelled wrong is not silently ignored."""
    with pytest.raises(SettingsError, match="AWSERVER_REGISTER"):
        read(tmp_path, register="open")
    assert read(tmp_path, registration="").registration is Registration.CLOSED


def test_an_open_address_takes_an_origin(tmp_path: Path) -> None:
    """With an origin, a host may listen where other machines reach it."""
    found = read(
        tmp_path,
        overrides={"listen": "0.0.0.0:5601", "origins": ("HTTPS://Sync.Example:443",)},
    )

    assert found.origins == ("https://sync.example",)


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    """A missing default file is fine; one that somebody named is a mistake."""
    with pytest.raises(SettingsError, match="there is no file"):
        read_settings(Overrides(config=tmp_path / "none"), environment={})
    with pytest.raises(SettingsError, match="there is no file"):
        read_settings(environment={"AWSERVER_CONFIG": str(tmp_path / "none")})


def test_a_directory_that_looks_mistyped_is_not_made(tmp_path: Path) -> None:
    """A directory is made in one that exists, and for its owner alone."""
    wrong = read(tmp_path, data_dir=str(tmp_path / "a" / "b"))
    with pytest.raises(SettingsError, match="parent"):
        prepare_data_dir(wrong)
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="not a directory"):
        prepare_data_dir(read(tmp_path, data_dir=str(tmp_path / "file")))

    good = read(tmp_path, data_dir=str(tmp_path / "data"))
    prepare_data_dir(good)
    prepare_data_dir(good)

    assert good.data_dir.stat().st_mode & 0o777 == 0o700


def test_the_page_has_every_setting() -> None:
    """The table of settings names each key, its variable, and no other."""
    table = PAGE.read_text(encoding="utf-8").partition("## Of a host")[2]
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", table, re.MULTILINE)

    assert dict(rows) == {key: f"AWSERVER_{key.upper()}" for key in FILE_KEYS}
    assert set(ENVIRONMENT_KEYS) - set(FILE_KEYS) == {"config"}
    assert "AWSERVER_CONFIG" in table
    for limit in (settings.CONNECTIONS_MAX, settings.CONNECTIONS_PER_ADDRESS_MAX):
        assert f"{limit:,}" in table
    names = {one.name for one in fields(HostSettings)}
    assert set(FILE_KEYS) <= names


def test_the_limits_of_a_host_are_those_of_the_code() -> None:
    """The table of what cannot be set gives the numbers that the code holds to."""
    from awserver.http import bodies, server

    mib = 1024 * 1024
    table = PAGE.read_text(encoding="utf-8").partition("| limit of a host |")[2]
    rows = dict(
        re.findall(r"^\| ([^|]+?) \| ([^|]+?) \| [^|]+ \|$", table, re.MULTILINE)
    )
    own = bodies.OWN_BYTES_MAX // mib

    assert rows == {
        "time for the headers of a new connection": (
            f"{server.HEADER_SECONDS_MAX:.0f} s"
        ),
        "a connection without a request": f"{server.KEEPALIVE_SECONDS:.0f} s",
        "a line of a request, or one header": (
            f"{server.REQUEST_LINE_BYTES_MAX // 1024} KiB"
        ),
        "time for a body": (
            f"{bodies.SECONDS_MIN:.0f} s, and a second for each"
            f" {bodies.BYTES_PER_SECOND_MIN // 1024} KiB"
        ),
        "bodies in memory at once, with a token": (
            f"{bodies.SHARED_BYTES_MAX // mib} MiB, {own} MiB of one account"
        ),
        "bodies in memory at once, without": (
            f"{bodies.SHARED_BYTES_OPEN_MAX // mib} MiB, {own} MiB of one address"
        ),
        "a reader that takes nothing": f"{server.STALL_SECONDS_MAX:.0f} s",
        "requests in flight when the host stops": (
            f"{server.SHUTDOWN_SECONDS_MAX:.0f} s"
        ),
    }
