"""Every adversarial test fails on the product without its defence."""

import os
import re
from pathlib import Path
from typing import Final

import pytest

from tests.adversarial import mutants
from tests.adversarial.mutants import (
    TESTS_FAILED,
    WRONG_TREE,
    Edit,
    Mutant,
    edited,
    make_tree,
    run_test,
)
from tests.adversarial.mutants_of_clients import CLIENT_MUTANTS
from tests.adversarial.mutants_of_hosts import HOST_MUTANTS
from tests.adversarial.mutants_of_logins import LOGIN_MUTANTS
from tests.adversarial.mutants_of_views import VIEW_MUTANTS
from tests.adversarial.mutants_of_walks import WALK_MUTANTS

MUTANTS = (
    *mutants.MUTANTS,
    *HOST_MUTANTS,
    *CLIENT_MUTANTS,
    *LOGIN_MUTANTS,
    *VIEW_MUTANTS,
    *WALK_MUTANTS,
)
TEST_FILES = sorted(Path(__file__).parent.glob("test_t[0-9][0-9]_*.py"))

ALL_VARIABLE: Final = "ALL_MUTANTS"
"""`make mutants` sets it: each mutant is a run of pytest of its own."""

CHOSEN = (
    MUTANTS
    if ALL_VARIABLE in os.environ
    # The last of each test file: the first were there the longest.
    else tuple({mutant.test_file: mutant for mutant in MUTANTS}.values())
)


@pytest.mark.parametrize("mutant", CHOSEN, ids=lambda mutant: mutant.id)
def test_the_mutant_is_noticed(mutant: Mutant, tmp_path: Path) -> None:
    """With the defence taken out, the test of the attack fails."""
    tree = tmp_path / "tree"
    make_tree(mutant.edits, tree)

    done = run_test(mutant.test, tree)

    assert done.returncode == TESTS_FAILED, done.stdout + done.stderr
    assert re.search(r"^FAILED ", done.stdout, re.MULTILINE), done.stdout


def test_every_edit_applies() -> None:
    """No mutant was left behind by the code that it edits."""
    for mutant in MUTANTS:
        assert edited(mutant.edits), mutant.id


def test_the_copy_without_an_edit_passes(tmp_path: Path) -> None:
    """What fails on a mutant fails for its edit: the bare copy passes."""
    tree = tmp_path / "tree"
    make_tree((), tree)

    done = run_test("test_t18_two_keys.py::t18", tree)

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_mutant_that_is_not_imported_is_noticed(tmp_path: Path) -> None:
    """A test that passes by the edited module proves nothing, and says so."""
    tree = tmp_path / "tree"
    make_tree((), tree)
    (tree / "mutated").write_text("awvault.doctor")

    done = run_test("test_t18_two_keys.py::t18", tree)

    assert done.returncode == WRONG_TREE, done.stdout + done.stderr


def test_an_edit_that_does_not_apply_is_noticed(tmp_path: Path) -> None:
    """A defence that was rewritten takes its mutant along, or the row fails."""
    with pytest.raises(AssertionError, match="holds 0 times, must hold once"):
        make_tree((Edit("awvault.errors", "no such text", ""),), tmp_path / "tree")


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.stem)
def test_every_attack_has_a_mutant(path: Path) -> None:
    """No test file of an attack is without a mutant, and each names its attack."""
    attack = path.stem.split("_")[1].upper()

    rows = [mutant for mutant in MUTANTS if mutant.test_file == path.name]

    assert rows, f"{path.name} has no mutant"
    assert {mutant.attack for mutant in rows} == {attack}


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.stem)
def test_every_attack_says_its_number(path: Path) -> None:
    """The file's first words are the number of the attack in the threat model."""
    attack = path.stem.split("_")[1].upper()

    assert path.read_text("utf-8").startswith(f'"""{attack}: ')


def test_no_row_is_there_twice() -> None:
    """Each mutant has a name of its own."""
    ids = [mutant.id for mutant in MUTANTS]

    assert len(set(ids)) == len(ids)
