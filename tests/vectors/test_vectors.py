"""The product does what every vector says, and the vectors are what is made."""

import hashlib
import re
from pathlib import Path

import pytest

from tests.vectors.form import DIRECTORY, EXPECTATIONS, Fields, parse, render
from tests.vectors.generate import KINDS, files, generate

FILES = files()
PAGE = Path(__file__).parents[2] / "docs" / "protocol" / "vectors.md"
CHECKS = {kind.NAME: kind.check for kind in KINDS}


@pytest.mark.parametrize("name", FILES)
def test_vector(name: str) -> None:
    """What the file describes succeeds, or fails, exactly as it says."""
    fields = parse(FILES[name].read_text("utf-8"))

    CHECKS[name.partition("/")[0]](fields)


def test_the_files_are_what_is_generated() -> None:
    """Making the vectors anew changes no file, adds none and leaves none out."""
    made = dict(generate())

    assert list(FILES) == sorted(made)
    for name, text in made.items():
        assert FILES[name].read_bytes() == text.encode(), name


def test_no_frozen_vector_has_changed() -> None:
    """Each file has the hash with which it was frozen; a new one is written down.

    What a vector says holds for every program that reads this data, so its line in
    `frozen.sha256` is never changed. For a new file, add one (`sha256sum`).
    """
    lines = (DIRECTORY / "frozen.sha256").read_text("ascii").splitlines()
    frozen = {name: digest for digest, name in (line.split("  ") for line in lines)}

    assert frozen == {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in FILES.items()
    }


def test_every_expectation_is_met_somewhere() -> None:
    """Each kind of refusal has a vector."""
    expected = {parse(path.read_text("utf-8"))["expect"] for path in FILES.values()}

    assert expected == set(EXPECTATIONS)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda fields: {**fields, "unknown": "1"}, id="unknown-key"),
        pytest.param(
            lambda fields: {k: v for k, v in fields.items() if k != "comment"},
            id="missing-key",
        ),
        pytest.param(
            lambda fields: {**fields, "expect": "something"}, id="unknown-expectation"
        ),
        pytest.param(
            lambda fields: {**fields, "expect": "gap"}, id="another-expectation"
        ),
    ],
)
@pytest.mark.parametrize("name", [f"{kind.NAME}/success.txt" for kind in KINDS[1:]])
def test_a_wrong_vector_fails(name: str, spoil: object) -> None:
    """The runner passes over nothing that it does not know."""
    fields: Fields = parse(FILES[name].read_text("utf-8"))
    assert callable(spoil)

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        CHECKS[name.partition("/")[0]](spoil(fields))


@pytest.mark.parametrize(
    "text",
    ["key value\n", "key: 1\nkey: 2\n", "key:1\n", "key: 1 \n", "key: 1", "\n"],
)
def test_another_form_is_refused(text: str) -> None:
    """A vector file has one form."""
    with pytest.raises(AssertionError):
        parse(text)


def test_a_file_reads_as_it_was_written() -> None:
    """An empty value is written without a space behind the colon."""
    fields = {"expect": "success", "comment": "", "plaintext": ""}

    assert parse(render(fields)) == fields
    assert DIRECTORY.name == "vectors"


def test_the_page_describes_the_files() -> None:
    """docs/protocol/vectors.md names every folder, key and expectation."""
    page = PAGE.read_text("utf-8")
    folders = {name.partition("/")[0] for name in FILES}
    keys = {
        re.sub(r" \d+$", " 1", key)
        for path in FILES.values()
        for key in parse(path.read_text("utf-8"))
    }

    for name in folders | keys | set(EXPECTATIONS):
        assert f"`{name}`" in page, name


def test_the_page_shows_a_vector_as_it_is() -> None:
    """The vector in the page is the file that it names."""
    shown = re.search(
        r"`tests/vectors/(\S+\.txt)`[^`]*```\n(.*?)```",
        PAGE.read_text("utf-8"),
        re.DOTALL,
    )

    assert shown is not None
    assert FILES[shown[1]].read_text("utf-8") == shown[2]
