"""The keyring of an operating system, with the real library and real keyrings.

It is installed beside ActivityWatch's programs, and not beside the tests: where a
keyring is installed, every start asks it. These commands find it behind all else.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from awvault.passphrases import KEYRING_SERVICE, entry_name
from tests.integration.cli.harness import PASSPHRASE, Done, Machine
from tests.integration.clients.peers import peer_python

pytestmark = pytest.mark.activitywatch

FILES = "keyrings.alt.file.PlaintextKeyring"
SCRIPT = "import sys; sys.path.append(sys.argv.pop(1)); "
RUN = SCRIPT + "from awvault.testing import main; sys.exit(main())"
STORE = SCRIPT + "import keyring; keyring.set_password(*sys.argv[1:])"
FAIL = "keyring.backends.fail.Keyring"


def run(machine: Machine, script: str, *arguments: str, keyring: str) -> Done:
    (packages,) = peer_python().parents[1].glob("lib/*/site-packages")
    done = subprocess.run(
        [sys.executable, "-c", script, packages, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=machine.environment | {"PYTHON_KEYRING_BACKEND": keyring},
        start_new_session=True,
        timeout=60,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_the_passphrase_is_taken_from_the_keyring(tmp_path: Path) -> None:
    """No file is generated, and a wrong one in the keyring opens nothing."""
    machine = Machine(tmp_path)
    name = entry_name(machine.data_dir)

    def store(passphrase: str) -> None:
        stored = run(machine, STORE, KEYRING_SERVICE, name, passphrase, keyring=FILES)
        assert stored.status == 0, stored.err

    store(PASSPHRASE)
    assert run(machine, RUN, "awvault", "init", keyring=FILES).status == 0
    assert machine.generated_files == []
    status = run(machine, RUN, "awvault", "status", "--json", keyring=FILES)
    assert status.json()["passphrase_source"] == "keyring"

    store("another")
    wrong = run(machine, RUN, "awvault", "status", keyring=FILES)
    assert wrong.status == 1
    assert "keyring" in wrong.err
    assert "another" not in wrong.err


@pytest.mark.parametrize("keyring", [FAIL, "no.such.Keyring"])
def test_a_machine_without_a_keyring_goes_on_to_the_file(
    tmp_path: Path, keyring: str
) -> None:
    """None at all, or one that is not there: nothing is said."""
    machine = Machine(tmp_path)
    made = run(machine, RUN, "awvault", "init", keyring=keyring)

    assert made.status == 0, made.err
    assert len(machine.generated_files) == 1
    assert "keyring" not in made.err.lower()
