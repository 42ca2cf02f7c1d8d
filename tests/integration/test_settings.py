"""Settings: command line, then environment, then file, then default."""

from pathlib import Path

import pytest

from awvault.settings import (
    Overrides,
    Settings,
    SettingsError,
    check_webui,
    prepare_data_dir,
    read_settings,
)


def read(tmp_path: Path, text: str = "", **environment: str) -> Settings:
    (tmp_path / "config.toml").write_text(text)
    return read_settings(
        environment={"AWVAULT_CONFIG_DIR": str(tmp_path)} | environment
    )


def test_the_order_of_precedence(tmp_path: Path) -> None:
    """Each place is overruled by the one before it."""
    assert read(tmp_path).port == 5600
    assert read(tmp_path, "port = 1").port == 1
    environment = {"AWVAULT_CONFIG_DIR": str(tmp_path), "AWVAULT_PORT": "2"}
    assert read_settings(environment=environment).port == 2
    assert read_settings(Overrides(port=3), environment=environment).port == 3
    assert read_settings(Overrides(testing=True), environment=environment).port == 2
    del environment["AWVAULT_PORT"]
    assert read_settings(Overrides(testing=True), environment=environment).port == 5666


@pytest.mark.parametrize(
    ("text", "environment", "names"),
    [
        pytest.param("further = 1", {}, '"further"', id="unknown-key"),
        pytest.param("[port]\nx = 1", {}, "port", id="table"),
        pytest.param("port = true", {}, "port", id="bool"),
        pytest.param("port = 65536", {}, "65536", id="high-port"),
        pytest.param("port = -1", {}, "-1", id="negative-port"),
        pytest.param("port = ", {}, "TOML", id="not-toml"),
        pytest.param("#" * 70_000, {}, "65536 bytes", id="large-file"),
        pytest.param('host = "0.0.0.0"', {}, "loopback", id="all-addresses"),
        pytest.param('host = "example.org"', {}, "loopback", id="name"),
        pytest.param('log_level = "all"', {}, "log_level", id="level"),
        pytest.param('sync_schedule = "now"', {}, "live, steady, daily", id="schedule"),
        pytest.param("sync_schedule = 1", {}, "sync_schedule", id="odd-schedule"),
        pytest.param("data_dir = 5", {}, "data_dir", id="path"),
        pytest.param("api_key_file = 5", {}, "api_key_file", id="key-path"),
        pytest.param('api_key = "x"', {}, '"api_key"', id="key"),
        pytest.param("", {"AWVAULT_API_KEY": "x"}, "AWVAULT_API_KEY", id="key-env"),
        pytest.param("cors_origins = 5", {}, "cors_origins", id="origins"),
        pytest.param("cors_origins = [5]", {}, "cors_origins", id="odd-origins"),
        pytest.param('cors_origins = ["*"]', {}, '"*"', id="any-origin"),
        pytest.param(
            "", {"AWVAULT_CORS_ORIGINS": "https://*.a"}, '"https://*.a"', id="wildcard"
        ),
        pytest.param(
            "", {"AWVAULT_CORS_ORIGINS": "http://a/b"}, '"http://a/b"', id="page"
        ),
        pytest.param(
            "",
            {"AWVAULT_CORS_ORIGINS": ",".join(f"http://{n}" for n in range(65))},
            "65 origins",
            id="many-origins",
        ),
        pytest.param("webui = 5", {}, "webui", id="webui"),
        pytest.param("webui_pages = 5", {}, "webui_pages", id="pages"),
        pytest.param('webui_pages = {"a/b" = "x"}', {}, "'a/b'", id="page-name"),
        pytest.param('webui_pages = {".." = "x"}', {}, "'..'", id="page-parent"),
        pytest.param("webui_pages = {a = 5}", {}, "webui_pages", id="page-path"),
        pytest.param("", {"AWVAULT_WEBUI_PAGES": "a"}, "PAGES: a", id="page-nowhere"),
        pytest.param("privacy_filters = 5", {}, "privacy_filters in", id="filters"),
        pytest.param(
            '[[privacy_filters]]\naction = "drop"\npattern = "("\n',
            {},
            "rule 1: pattern: is no regular expression",
            id="bad-filter",
        ),
        pytest.param(
            "", {"AWVAULT_PRIVACY_FILTERS": "[]"}, "PRIVACY_FILTERS", id="filters-env"
        ),
        pytest.param("", {"AWVAULT_PORT": "1e3"}, "AWVAULT_PORT", id="odd-port"),
        pytest.param("", {"AWVAULT_PORT": "9" * 5000}, "0 to 65535", id="huge-port"),
        pytest.param(
            "", {"AWVAULT_PASSPHRASE": "x"}, "AWVAULT_PASSPHRASE", id="secret"
        ),
    ],
)
def test_what_makes_no_sense_is_an_error(
    tmp_path: Path, text: str, environment: dict[str, str], names: str
) -> None:
    """The message names the setting and where it stands."""
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text, **environment)

    assert names in str(caught.value)


def test_privacy_filters_are_tables(tmp_path: Path) -> None:
    """They are no secret, but only the file can hold them."""
    text = '[[privacy_filters]]\naction = "drop"\nfield = "title"\ntext = "x"\n'
    (rule,) = read(tmp_path, text).privacy_filters
    assert (rule.action, rule.field, rule.text) == ("drop", "title", "x")
    assert read(tmp_path, "privacy_filters = []").privacy_filters == ()


def test_origins_are_a_list(tmp_path: Path) -> None:
    """In the file, and with commas in the environment."""
    found = ("http://localhost:8080", "chrome-extension://abc")
    text = 'cors_origins = ["http://LOCALHOST:8080/", "chrome-extension://abc"]'
    assert read(tmp_path, text).cors_origins == found
    joined = "http://localhost:8080/, chrome-extension://abc,"
    assert read(tmp_path, AWVAULT_CORS_ORIGINS=joined).cors_origins == found
    assert read(tmp_path).cors_origins == ()


def test_other_loopback_addresses_are_taken(tmp_path: Path) -> None:
    """Also by name, and in version 6."""
    for given, used in (("localhost", "127.0.0.1"), ("::1", "::1"), ("127.0.0.2",) * 2):
        assert read(tmp_path, f'host = "{given}"').host == used


def test_no_default_is_a_directory_of_activitywatch() -> None:
    """Both may be installed, and neither may write into the other's files."""
    for testing in (False, True):
        settings = read_settings(Overrides(testing=testing), environment={})
        parts = settings.data_dir.parts + settings.config_dir.parts
        assert "activitywatch" not in parts
        assert settings.data_dir_is_default


def test_a_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """With mode 0700, and only inside a directory that exists."""
    settings = read_settings(Overrides(data_dir=tmp_path / "vault"), environment={})
    prepare_data_dir(settings)
    assert settings.data_dir.stat().st_mode & 0o777 == 0o700

    with pytest.raises(SettingsError, match="does not exist"):
        prepare_data_dir(
            read_settings(Overrides(data_dir=tmp_path / "a" / "b"), environment={})
        )
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="not a directory"):
        prepare_data_dir(
            read_settings(Overrides(data_dir=tmp_path / "file"), environment={})
        )


def test_the_pages_of_watchers_are_a_table_or_a_list(tmp_path: Path) -> None:
    """In a variable they stand as ActivityWatch's server takes them."""
    table = read(tmp_path, 'webui_pages = { one = "/a/b", two = "/c" }')
    listed = read(tmp_path, AWVAULT_WEBUI_PAGES="one=/a/b, two=/c")

    assert table.webui_pages == (("one", Path("/a/b")), ("two", Path("/c")))
    assert listed.webui_pages == table.webui_pages


@pytest.mark.parametrize(
    ("webui", "pages", "says"),
    [
        pytest.param("interface", "", None, id="fine"),
        pytest.param("interface", "page", None, id="fine-with-a-page"),
        pytest.param("missing", "", "has no index.html", id="missing"),
        pytest.param("interface", "missing", "has no index.html", id="page-missing"),
        pytest.param("", "page", "webui is not", id="page-alone"),
        pytest.param(".", "", "would show what is in", id="around-everything"),
        pytest.param("vault", "", "would show what is in", id="the-vault-itself"),
        pytest.param("vault/webui", "", "would show what is in", id="in-the-vault"),
        pytest.param("interface", "config", "would show", id="page-of-settings"),
        pytest.param("secrets", "", "would show", id="beside-the-passphrase"),
    ],
)
def test_only_an_interface_is_served(
    tmp_path: Path, webui: str, pages: str, says: str | None
) -> None:
    """Not a folder with the vault, its settings or its passphrase in it."""
    names = ("interface", "page", ".", "vault", "vault/webui", "config", "secrets")
    for name in names:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "index.html").touch()
    settings = read_settings(
        environment={
            "AWVAULT_CONFIG_DIR": str(tmp_path / "config"),
            "AWVAULT_DATA_DIR": str(tmp_path / "vault"),
            "AWVAULT_PASSPHRASE_FILE": str(tmp_path / "secrets" / "one"),
            "AWVAULT_WEBUI": str(tmp_path / webui) if webui else "",
            "AWVAULT_WEBUI_PAGES": f"watcher={tmp_path / pages}" if pages else "",
        }
    )

    if says is None:
        check_webui(settings)
        return
    with pytest.raises(SettingsError) as caught:
        check_webui(settings)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("page", "missing"),
    [
        ('<script src="/js/app.js?v=1"></script><link rel=icon href="/no.png">', None),
        ('<script src="js/app.js"></script><script>1</script>', None),
        ('<script src="https://example.org/a.js"></script>', None),
        ('<base href="/x/"><script src="a.js"></script>', None),
        ('<script src="//[/a.js"></script><script src=""></script>', None),
        ('<script src="/a%00.js"></script>', "/a%00.js"),
        (f'<script src="{"a" * 300}"></script>', "a" * 300),
        ('<script defer src="/js/other.js"></script>', "/js/other.js"),
        ('<link rel="stylesheet" href="css/a.css">', "css/a.css"),
    ],
)
def test_an_interface_without_what_it_loads_is_refused(
    tmp_path: Path, page: str, missing: str | None
) -> None:
    """It would show an empty page."""
    webui = tmp_path / "webui"
    (webui / "js").mkdir(parents=True)
    (webui / "js" / "app.js").touch()
    (webui / "index.html").write_text(page)
    settings = read_settings(
        environment={
            "AWVAULT_CONFIG_DIR": str(tmp_path / "config"),
            "AWVAULT_DATA_DIR": str(tmp_path / "vault"),
            "AWVAULT_WEBUI": str(webui),
        }
    )
    if missing is None:
        check_webui(settings)
        return
    with pytest.raises(SettingsError) as caught:
        check_webui(settings)
    assert f'index.html loads "{missing}", which is not in "{webui}"' in str(
        caught.value
    )


@pytest.mark.parametrize("name", [".", "index.html"])
def test_an_interface_that_others_can_change_is_not_served(
    tmp_path: Path, name: str
) -> None:
    """Its page could read everything."""
    webui = tmp_path / "webui"
    webui.mkdir()
    (webui / "index.html").touch()
    settings = read_settings(
        environment={
            "AWVAULT_CONFIG_DIR": str(tmp_path / "config"),
            "AWVAULT_DATA_DIR": str(tmp_path / "vault"),
            "AWVAULT_WEBUI": str(webui),
        }
    )
    check_webui(settings)
    (webui / name).chmod(0o777)

    with pytest.raises(SettingsError, match="another user of this machine can change"):
        check_webui(settings)
