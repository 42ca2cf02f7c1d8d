"""What the documentation claims, as far as a machine can tell."""

import itertools
import json
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import pytest

import awserver
import awvault
from awserver import cli as server_cli
from awvault.cli import program as vault_cli
from tests.helpers.processes import home

ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "README.md"
COMMANDS_PAGE: Final = ROOT / "docs" / "reference" / "cli.md"
THREAT_MODEL: Final = ROOT / "docs" / "threat-model.md"

ATTACKS: Final = [f"T{number:02}" for number in range(1, 53)]
# What this version defends against by itself, so that a test must show it.
COVERED: Final = [
    f"T{number:02}"
    for number in (1, 2, 3, 4, 17, 18, 19, 22, 23, 24, 25, 32, 34, 36, 44, 45, 50)
]
NOT_HERE: Final = "not in this version"

SESSION_SECONDS_MAX: Final = 60
PROGRAM_SECONDS_MAX: Final = 60

_LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCE: Final = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_HEADING: Final = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)
_TEST_FILE: Final = re.compile(r"`(tests/[\w/.-]+)`")


def pages() -> list[Path]:
    """Return every Markdown file that a reader finds."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of one language, in order."""
    found = _FENCE.findall(page.read_text(encoding="utf-8"))
    return [body for kind, body in found if kind == language]


def anchors(page: Path) -> set[str]:
    """Return the fragments that a page's headings make, as the usual renderers do."""
    found = set()
    for heading in _HEADING.findall(prose(page)):
        kept = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
        found.add(kept.replace(" ", "-"))
    return found


# -- links -------------------------------------------------------------------


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """A link names a file that exists and, after #, a heading of it."""
    broken = []
    for target in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        linked = page if not path else (page.parent / path).resolve()
        if not linked.exists() or (fragment and fragment not in anchors(linked)):
            broken.append(target)

    assert broken == []


def test_every_page_can_be_reached_from_the_first() -> None:
    """Whoever follows links from the README comes to every page of docs/."""
    seen: set[Path] = set()
    waiting = [README]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        if page.is_dir():
            waiting += page.glob("*.md")
            continue
        for target in _LINK.findall(prose(page)):
            linked = (page.parent / target.partition("#")[0]).resolve()
            if linked.exists() and (linked.is_dir() or linked.suffix == ".md"):
                waiting.append(linked)

    missed = {name_of(page) for page in pages()} - {
        name_of(page) for page in seen if page.is_relative_to(ROOT)
    }
    assert missed == set()


# -- commands ----------------------------------------------------------------


def sections() -> dict[str, str]:
    """Return the text under each heading of the commands' page that is a command."""
    text = COMMANDS_PAGE.read_text(encoding="utf-8")
    parts = re.split(r"^#{2,3} +(.+?)\s*$", text, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    return {
        heading: body
        for heading, body in found.items()
        if heading.split()[0] in {"aw-server", "awvault"}
    }


def commands() -> dict[str, click.Command]:
    """Return every command of both programs by its whole name."""
    vault = vault_cli.program
    context = click.Context(vault)
    found: dict[str, click.Command] = {
        "aw-server": server_cli.program,
        "awvault": vault,
    }
    for name in vault.list_commands(context):
        command = vault.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= dict(leaves(f"awvault {name}", command))
        else:
            found[f"awvault {name}"] = command
    return found | dict(leaves("aw-server", server_cli.program))


def leaves(name: str, group: click.Group) -> Iterator[tuple[str, click.Command]]:
    """Yield every command of a group, and of the groups in it, by its whole name."""
    for word, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(f"{name} {word}", command)
        else:
            yield f"{name} {word}", command


def options_of(command: click.Command) -> set[str]:
    """Return the long names of a command's options."""
    return {
        option
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--")
    }


def test_the_commands_page_has_a_section_for_each_command() -> None:
    """Each command is described, and no other."""
    assert set(sections()) == set(commands())


@pytest.mark.parametrize("name", sorted(commands()))
def test_the_commands_page_names_each_option(name: str) -> None:
    """Each option stands in its command's section, or in the one for all commands."""
    described = sections()
    text = described[name]
    if name.startswith("awvault"):
        text += described["awvault"]
    elif name != "aw-server":
        # Every command of a host takes the options that say which host.
        text += described["aw-server host"]
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))

    assert options_of(commands()[name]) - named == set()


@pytest.mark.parametrize("name", sorted(commands()))
def test_the_commands_page_names_no_option_that_is_not_there(name: str) -> None:
    """A table of options holds options that the command takes."""
    rows = re.findall(r"^\| `(--[a-z-]+)`", sections()[name], flags=re.MULTILINE)

    assert set(rows) - options_of(commands()[name]) == set()


def shell_lines(page: Path) -> Iterator[list[str]]:
    """Yield the words of each command line in a page's code blocks."""
    for kind, body in _FENCE.findall(page.read_text(encoding="utf-8")):
        if kind not in {"", "sh", "console"}:
            continue
        for line in body.replace("\\\n", " ").splitlines():
            text = line.strip().removeprefix("$ ")
            if re.match(r"(\S*/)?(awvault|aw-server)\s", text):
                yield shlex.split(text, comments=True)


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_command_lines_in_the_pages_are_understood(page: Path) -> None:
    """Each command line names a command, and options that it takes."""
    known = commands()
    for words in shell_lines(page):
        program = Path(words[0]).name
        rest = words[1:]
        if program == "aw-server":
            line = " ".join([program, *rest, ""])
            program = max((n for n in known if line.startswith(f"{n} ")), key=len)
        options = options_of(known[program])
        if program == "awvault":
            names = [*map(" ".join, itertools.pairwise(rest)), *rest]
            (name,) = [name for name in names if f"awvault {name}" in known][:1] or [""]
            assert name or set(rest) <= options, words
            options = options | options_of(known.get(f"awvault {name}", known[program]))
        used = {word.partition("=")[0] for word in rest if word.startswith("--")}
        assert used - options == set(), words


def test_the_readme_lists_every_command() -> None:
    """The README's table has a row for each command."""
    rows = re.findall(
        r"^\| `((?:awvault|aw-server)[^`]*)`", prose(README), re.MULTILINE
    )

    assert set(rows) == set(commands()) - {"awvault"}


def test_the_limits_are_those_of_the_code() -> None:
    """The table of limits gives the numbers that the code holds to."""
    from awserver.records import BODY_BYTES_MAX as RECORD_BODY_BYTES_MAX
    from awvault import incoming, index, passphrases, sealing, vault
    from awvault.columns import jsontext
    from awvault.gateway import reading, transfer, wire
    from awvault.gateway.settings import GatewaySettings

    kib, mib = 1024, 1024 * 1024
    assert reading.HEARTBEAT_BYTES_MAX == reading.BUCKET_BYTES_MAX
    expected = {
        "body of a request with events": f"{reading.BODY_BYTES_MAX // mib} MiB",
        "body of an import": f"{transfer.IMPORT_BYTES_MAX // mib} MiB",
        "body of a heartbeat, or of a bucket": (
            f"{reading.HEARTBEAT_BYTES_MAX // mib} MiB"
        ),
        "events in one request": f"{wire.EVENTS_MAX:,}",
        "data of one event": f"{jsontext.EVENT_DATA_BYTES_MAX // kib} KiB",
        "nesting of data": f"{jsontext.DEPTH_MAX} levels",
        "id, type, client and hostname of a bucket": (
            f"{incoming.BUCKET_TEXT_CHARS_MAX} characters each"
        ),
        "visible buckets": f"{vault.BUCKETS_MAX:,}",
        "pulsetime": f"{incoming.PULSETIME_US_MAX // (24 * 3600 * 1_000_000)} days",
        "time for a body to arrive": f"{GatewaySettings().body_seconds_max:.0f} s",
        "passphrase": f"{passphrases.PASSPHRASE_BYTES_MAX:,} bytes",
        "a sealed record's body": f"{RECORD_BODY_BYTES_MAX // mib} MiB",
        "events in a record": f"{sealing.RECORD_EVENTS_MAX:,}",
        "decoded records kept in memory": f"{index.CACHE_BYTES_MAX // mib} MiB",
    }
    page = (ROOT / "docs" / "operations" / "configuration.md").read_text()
    table = page.partition("## Limits")[2].partition("## ")[0]
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \| [^|]+ \|$", table, re.MULTILINE)

    assert dict(rows[1:]) == expected


# -- the threat model --------------------------------------------------------


def attacks() -> dict[str, str]:
    """Return what the threat model says of each numbered attack."""
    text = THREAT_MODEL.read_text(encoding="utf-8")
    parts = re.split(r"^#### (T\d\d): .+$", text, flags=re.MULTILINE)
    numbers = parts[1::2]
    assert len(numbers) == len(set(numbers)), "an attack stands there twice"
    bodies = [
        re.split(r"^#{1,4} ", body, flags=re.MULTILINE)[0] for body in parts[2::2]
    ]
    return dict(zip(numbers, bodies, strict=True))


def test_the_threat_model_numbers_every_attack() -> None:
    """T01 to T52, each once, in order."""
    assert list(attacks()) == ATTACKS


@pytest.mark.parametrize("number", ATTACKS)
def test_every_attack_has_a_test_or_says_that_it_has_none(number: str) -> None:
    """An attack names a test file that exists, or says what is not in this version."""
    text = attacks()[number]
    files = _TEST_FILE.findall(text)

    assert files or NOT_HERE in text.lower()
    assert [file for file in files if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize("number", COVERED)
def test_what_this_version_covers_is_shown_by_a_test(number: str) -> None:
    """A covered attack names a test; the adversarial ones carry its number."""
    files = _TEST_FILE.findall(attacks()[number])
    adversarial = [file for file in files if file.startswith("tests/adversarial/")]

    assert files
    assert [f for f in adversarial if f"_{number.lower()}_" in f] == adversarial


def test_every_adversarial_test_is_named_by_its_attack() -> None:
    """A test file that carries the number of an attack stands under that attack."""
    missing = [
        file.name
        for file in sorted((ROOT / "tests" / "adversarial").glob("test_t*.py"))
        if file.name not in attacks()[file.name[5:8].upper()]
    ]

    assert missing == []


def test_the_architecture_names_every_room() -> None:
    """Each module and package at the top of the two packages has a row."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("## The rooms")[2].partition("## ")[0]
    named = set(re.findall(r"`(?:awserver\.|awvault\.)?(\w+)`", table))
    rooms = {
        room.name
        for package in (awserver, awvault)
        for room in pkgutil.iter_modules(package.__path__)
        if not room.name.startswith("_")
    }

    assert rooms - named == set()
    assert named - rooms == {"awvault"}


# -- code that a reader copies -----------------------------------------------


@pytest.mark.parametrize(
    "page", [README, ROOT / "docs" / "guide" / "library.md"], ids=name_of
)
def test_the_ten_lines_run(page: Path, tmp_path: Path) -> None:
    """The first Python example of a page stores an event and prints it."""
    source = blocks(page, "python")[0]
    passphrase = tmp_path / "passphrase.txt"
    passphrase.touch(mode=0o600)
    passphrase.write_text("correct horse battery staple\n")

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        cwd=tmp_path,
        env={**_environment(), "AWVAULT_CONFIG_DIR": str(tmp_path / "config")},
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS_MAX,
        check=False,
    )

    assert done.stderr == ""
    assert done.returncode == 0
    assert "{'text': 'went for a walk'}" in done.stdout
    assert (tmp_path / "my-vault" / "vault.db").is_file()


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("AWVAULT_")}


def exchanges() -> list[tuple[str, str]]:
    """Return the README's session: each command with what it prints."""
    found = []
    for block in blocks(README, "console"):
        for part in re.split(r"^\$ ?", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            if command:
                found.append((command, output.strip()))
    return found


def shape(value: object) -> object:
    """Return a JSON value with every scalar replaced by the name of its type."""
    if isinstance(value, Mapping):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [shape(item) for item in value]
    return type(value).__name__


def run(command: str) -> str:
    done = subprocess.run(
        shlex.split(command),
        capture_output=True,
        text=True,
        timeout=SESSION_SECONDS_MAX,
        check=False,
    )
    return done.stdout.strip()


def test_the_readmes_session_happens_as_shown(tmp_path: Path) -> None:
    """Each command of the session prints what the README says that it prints."""
    for program in ("curl", "grep"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here")
    session = exchanges()
    ready = session.pop(0)
    with home(tmp_path / "home") as where:
        server = where.serve()
        shown: list[Any] = []
        got: list[Any] = []
        for command, output in session:
            if command.startswith("curl "):
                answer = run(
                    command.replace("localhost:5600", f"localhost:{server.port}")
                    + " --silent"
                )
                shown.append(shape(json.loads(output)))
                got.append(shape(json.loads(answer)))
                assert list(json.loads(output) and json.loads(output)[0]) == list(
                    json.loads(answer) and json.loads(answer)[0]
                )
            else:
                assert command.startswith("grep ")
                assert "~/.local/share/awvault" in command
                shown.append(output)
                got.append(
                    run(command.replace("~/.local/share/awvault", str(where.data_dir)))
                )
        server.terminate()

    assert got == shown
    assert ready[0] == "make run"
    assert server.stdout.decode().strip().replace(str(server.port), "5600") == ready[1]


def test_the_search_of_the_session_can_find_something(tmp_path: Path) -> None:
    """The grep of the README finds the note where it lies in plain text."""
    (command,) = [c for c, _ in exchanges() if c.startswith("grep ")]
    (tmp_path / "plain").write_text('{"note": "Just a test"}')

    assert run(command.replace("~/.local/share/awvault", str(tmp_path))) != ""


def test_the_examples_of_2016_stand_in_the_readme() -> None:
    """Both calls of the first README are in the session, unchanged."""
    given = [command for command, _ in exchanges()]

    assert "curl http://localhost:5600/api/0/activity/test" in given
    assert (
        "curl http://localhost:5600/api/0/activity/test"
        ' -d \'{"label": ["test-activity"], "note": "Just a test"}\''
        ' -H "Content-Type: application/json"'
    ) in given


# -- words -------------------------------------------------------------------


def test_zero_knowledge_stands_once() -> None:
    """The phrase means something else to a cryptographer: only the glossary has it."""
    found = [
        name_of(page)
        for page in pages()
        for _ in re.findall(r"zero.knowledge", page.read_text(), re.IGNORECASE)
    ]

    assert found == ["docs/glossary.md"]
