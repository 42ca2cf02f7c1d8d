"""What docs/protocol claims, compared with the code."""

import re
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from awserver import documents as document
from awserver import labels as host_labels
from awserver import records
from awserver.storage import base
from awserver.storage.sqlite import database
from awvault.columns import compress, jsontext, payload
from awvault.crypto import committing, envelope, labels, padding, passphrase, rows
from awvault.crypto import keys as crypto_keys
from awvault.crypto import slots as crypto_slots
from awvault.journal import _EVENT, ROW_PADDING_BYTES
from awvault.protocol import account
from awvault.sealing import RECORD_EVENTS_MAX, WEB_TYPE_PREFIX
from awvault.vault import BULK_ROW_EVENTS_MAX
from tests.helpers.protocol_examples import PAGES, PAYLOAD, Values

PROTOCOL: Final = Path(__file__).parents[2] / "docs" / "protocol"


def page(name: str) -> str:
    return (PROTOCOL / name).read_text(encoding="utf-8")


def table(text: str) -> list[list[str]]:
    """Return the cells of every row of every table, headings too."""
    found = re.findall(r"^\| (.+) \|$", text, flags=re.MULTILINE)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)] for row in found]


def example(name: str) -> Values:
    """Return the values of the last code block of a page."""
    block = page(name).rpartition("## Example\n")[2].split("```")[1]
    values: Values = {}
    key = ""
    for line in block.strip("\n").splitlines():
        if line.startswith("    "):
            values[key] += line.strip()
        else:
            key, _, value = line.partition(":")
            assert key not in values
            values[key] = value.strip()
    return values


# -- labels ------------------------------------------------------------------


def labels_in(module: ModuleType) -> list[bytes]:
    return [
        value
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, bytes)
    ]


def labels_of_the_code() -> list[bytes]:
    assert set(labels_in(host_labels)) < set(labels_in(labels))
    return labels_in(labels)


def test_the_page_of_labels_lists_each_label_once() -> None:
    """A label of the code stands on the page, and a label of the page is in use."""
    listed = [row[0] for row in table(page("labels.md")) if row[0].startswith("`")]

    assert len(set(listed)) == len(listed)
    assert set(listed) == {f"`{label.decode()}`" for label in labels_of_the_code()}


def test_no_label_serves_two_purposes() -> None:
    """Labels differ, have 1 to 16 bytes, and none is another with NULs after it."""
    found = labels_of_the_code()

    assert len(set(found)) == len(found)
    assert all(1 <= len(label) <= 16 and b"\0" not in label for label in found)


def test_the_host_labels_are_those_that_the_page_names() -> None:
    """The page says which labels a host needs."""
    (line,) = re.findall(
        r"^A host needs ten of them: (.+)\.$", page("labels.md"), re.MULTILINE
    )

    assert re.findall(r"`([a-z-]+)`", line) == [
        label.decode() for label in labels_in(host_labels)
    ]


# -- examples ----------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_the_example_of_a_page_is_what_the_code_computes(name: str) -> None:
    """Each value of a worked example, intermediate ones too, is the code's."""
    assert example(name) == PAGES[name]()


def test_the_payload_of_the_record_is_the_example_of_its_own_page() -> None:
    """The record's example holds the bytes that payload.md explains."""
    block = page("payload.md").rpartition("## An example")[2].split("```")[1]
    lines = re.findall(
        r"^ *((?:[0-9a-f]{2} +)*[0-9a-f]{2})(?: |$)", block, re.MULTILINE
    )
    explained = "".join(lines).replace(" ", "")

    assert explained == PAYLOAD.hex()


# -- numbers -----------------------------------------------------------------

KIB, MIB = 1024, 1024 * 1024

SIZES: Final = {
    "record.md": {
        "header[173]": records.HEADER_BYTES == 173,
        "the first 81 bytes": records.H0_BYTES == 81,
        "at most 1048576": records.BODY_BYTES_MAX == 1048576,
        "at most 1048813 bytes": (
            records.RECORD_BYTES_MIN + records.BODY_BYTES_MAX == 1048813
        ),
        "1048560": envelope.PLAINTEXT_BYTES_MAX == 1048560,
        "1048556": padding.CONTENT_BYTES_MAX == 1048556,
        "at most 2^63 - 1": records.SEQ_MAX == 2**63 - 1,
        "The floor is 512": padding.FLOOR_LOCAL_BYTES == 512,
        "and 4096 with a remote host": padding.FLOOR_REMOTE_BYTES == 4096,
        "at most 8192 events": RECORD_EVENTS_MAX == 8192,
        "begin with `web.`": WEB_TYPE_PREFIX == "web.",
    },
    "sealing.md": {
        "It adds 72 bytes": committing.OVERHEAD_BYTES == 72,
        "It adds 40 bytes": rows.OVERHEAD_BYTES == 40,
    },
    "keys.md": {
        "| memory | 262144 KiB |": passphrase.STANDARD.memory_kib == 262144,
        "| passes | 3 |": passphrase.STANDARD.passes == 3,
        "| lanes | 1 |": passphrase.LANES == 1,
        "| version | 0x13 |": passphrase.VERSION == 0x13,
        "| output | 64 bytes |": crypto_keys.PassphraseKey.SIZE == 64,
        "at most 1024 bytes": crypto_keys.PASSPHRASE_BYTES_MAX == 1024,
        "at most 4096 epochs": document.EPOCHS_MAX == 4096,
    },
    "account-document.md": {
        "| document | 4 MiB |": document.DOCUMENT_BYTES_MAX == 4 * MIB,
        "| clients, heads | 8192 each |": document.CLIENTS_MAX == 8192,
        "| erasures | 16384 |": document.ERASED_MAX == 16384,
        "| version | 2^32 - 1 |": document.VERSION_MAX == 2**32 - 1,
        "| epoch | 4095 |": document.EPOCHS_MAX - 1 == 4095,
        "A slot has 104 bytes": crypto_slots.SLOT_BYTES == 104,
        "| 46 | 200 | label |": (
            crypto_slots.SEALED_CLIENT_LABEL_BYTES
            == document.SEALED_CLIENT_LABEL_BYTES
            == 200
        ),
        "at most 127 bytes": crypto_slots.CLIENT_LABEL_TEXT_BYTES_MAX == 127,
        "at most 147757 bytes": account.KEYS_BLOB_BYTES_MAX == 147757,
        "magic `AWKB`": account.KEYS_BLOB_MAGIC == b"AWKB",
        "| magic | `AWSD` |": document.MAGIC == b"AWSD",
        "has the username `local`": document.LOCAL_USERNAME == "local",
    },
    "logs.md": {
        "At most 1000 records and 64 MiB": (
            base.APPEND_RECORDS_MAX == 1000 and base.APPEND_BYTES_MAX == 64 * MIB
        ),
    },
    "journal-and-index.md": {
        "| 46 | 4 + n | LP(text) |": _EVENT.size == 50,
        "a multiple of 64 bytes": ROW_PADDING_BYTES == 64,
        "up to 8192 events": BULK_ROW_EVENTS_MAX == 8192,
    },
    "payload.md": {
        "at most 16 MiB": compress.RAW_BYTES_MAX == 16 * MIB,
        "| header | 8 MiB |": payload.HEADER_BYTES_MAX == 8 * MIB,
        "| rows | 65,536 |": payload.ROWS_MAX == 65536,
        "| zones | 4,096 |": payload.ZONES_MAX == 4096,
        "| bucket versions | 8,192 |": payload.BUCKET_VERSIONS_MAX == 8192,
        "| one text | 256 KiB |": jsontext.EVENT_DATA_BYTES_MAX == 256 * KIB,
    },
    "storage.md": {
        "application id 0x41575332": database.APPLICATION_ID == 0x41575332,
    },
}


@pytest.mark.parametrize(
    ("name", "claim"), [(name, claim) for name in SIZES for claim in SIZES[name]]
)
def test_a_size_on_a_page_is_that_of_the_code(name: str, claim: str) -> None:
    """The page says it, and it is so."""
    assert claim in page(name)
    assert SIZES[name][claim]


def test_the_fields_of_a_record_follow_each_other() -> None:
    """In the table, each field begins where the one before ends."""
    fields = [row for row in table(page("record.md")) if row[0].isdigit()]
    ends = [int(row[0]) + int(row[1]) for row in fields[:-1]]

    assert [int(row[0]) for row in fields] == [0, *ends]
    assert ends[-1] == records.RECORD_BYTES_MIN


def test_every_rule_of_acceptance_is_named_in_the_code() -> None:
    """The comments of log and mentions name the rules of logs.md, 1 to 13."""
    rules = page("logs.md").partition("## Rules of acceptance")[2].partition("## ")[0]
    numbered = [int(number) for number in re.findall(r"^(\d+)\. ", rules, re.MULTILINE)]
    code = "".join(
        Path(account.__file__).with_name(name).read_text(encoding="utf-8")
        for name in ("log.py", "mentions.py")
    )
    named = {int(n) for n in re.findall(r"(?:# |, )(\d+): ", code)}

    assert numbered == list(range(1, 14))
    assert named == set(numbered)


def test_the_tables_of_a_data_directory_are_described() -> None:
    """Each table that the migrations make stands on the page, and no other."""
    made = {"schema_migrations"}
    for package in ("awserver.storage.sqlite", "awvault"):
        for script in (files(package) / "migrations").iterdir():
            made |= set(
                re.findall(r"^CREATE TABLE (\w+)", script.read_text(), re.MULTILINE)
            )
    listed = page("storage.md").partition("## What a reader needs")[2]
    described = {
        row[0].strip("`")
        for row in table(listed.partition("## What the tables refuse")[0])
        if row[0].startswith("`")
    }

    assert described == made


def test_every_kind_of_vector_and_expectation_is_described() -> None:
    """The page of the vectors names each folder, expectation and key in use."""
    text = page("vectors.md")
    files = sorted((PROTOCOL.parents[1] / "tests" / "vectors").glob("*/*.txt"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    expected = {line[8:] for line in lines if line.startswith("expect: ")}
    expectations = text.partition("## Expectations")[2].partition("## ")[0]
    kinds = text.partition("## Kinds")[2].partition("In `records`")[0]
    named = {row[0].strip("`") for row in table(expectations)[1:]} - {"---"}
    folders = {row[0].strip("`") for row in table(kinds) if row[0][0] == "`"}

    assert folders == {file.parent.name for file in files}
    assert named == expected
