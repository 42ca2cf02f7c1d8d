"""The commands that concern an account and its host, as a person runs them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from awvault.crypto.recovery import read_recovery_words
from tests.helpers.hosts import HostProcess, host_process
from tests.integration.cli.harness import Dialog, Machine

STRONG = "plum tundra violin glacier walnut engine"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[HostProcess]:
    with host_process(tmp_path / "host") as process:
        yield process


@pytest.fixture
def laptop(tmp_path: Path) -> Machine:
    return machine(tmp_path, "laptop")


@pytest.fixture
def desk(tmp_path: Path) -> Machine:
    return machine(tmp_path, "desk")


def machine(root: Path, name: str) -> Machine:
    home = root / name
    home.mkdir()
    return Machine(home)


def secret(machine: Machine, name: str, text: str) -> Path:
    path = machine.home / name
    path.write_text(text)
    path.chmod(0o600)
    return path


def generated(machine: Machine) -> str:
    (file,) = machine.generated_files
    return file.read_text().strip()


def register(machine: Machine, host: HostProcess, *more: str | Path) -> dict[str, Any]:
    """Register a machine that nobody sits at; its vault is made if there is none."""
    if not machine.generated_files:
        machine.ok("init")
    words = machine.home / "words"
    words.unlink(missing_ok=True)
    done = machine.ok(
        "register", host.url, "--username", "alice", "--recovery-file", words, "--json",
        *more,
    )  # fmt: skip
    found = done.json()
    assert isinstance(found, dict)
    return found


def add(machine: Machine, *texts: str) -> None:
    for text in texts:
        data = json.dumps({"text": text})
        machine.ok("add", "notes", data, "--type", "note")


def texts(machine: Machine) -> set[str]:
    events = machine.ok("events", "notes", "--json").json()
    return {event["data"]["text"] for event in events}


def clients_label(machine: Machine) -> str:
    (client,) = [
        client
        for client in machine.ok("clients", "list", "--json").json()
        if client["own"]
    ]
    label = client["label"]
    assert isinstance(label, str)
    return label


# -- unattended ----------------------------------------------------------------


def test_a_machine_that_nobody_sits_at_registers(
    laptop: Machine, host: HostProcess
) -> None:
    """The recovery words go to a file of its own; everything else is said as JSON."""
    made = register(laptop, host)

    words = laptop.home / "words"
    assert words.stat().st_mode & 0o777 == 0o600
    read_recovery_words(words.read_text())
    assert made["username"] == "alice"
    assert made["recovery"] == "this try"
    remote = laptop.ok("remote", "--json").json()
    assert (remote["url"], remote["username"]) == (host.url, "alice")
    assert remote["account_id"] == made["account_id"]
    assert remote["attempt_pending"] is False
    usage = laptop.ok("usage", "--host", "--json").json()
    # What was recorded before is there already, in the two records of one upload.
    assert (usage["url"], usage["entries"], usage["quota_bytes"]) == (host.url, 2, None)
    assert usage["stored_bytes"] > 0
    assert laptop.ok("sessions", "list", "--json").json() == []


def test_a_weak_passphrase_is_refused_where_nobody_can_choose(
    laptop: Machine, host: HostProcess
) -> None:
    """Exit status 1, with both numbers and a way out; the host hears nothing."""
    file = secret(laptop, "weak", "plum tundra")
    laptop.ok("init", "--passphrase-file", file)
    options: list[str | Path] = ["--username", "alice", "--passphrase-file", file]

    done = laptop.awvault(
        "register", host.url, *options, "--recovery-file", laptop.home / "words"
    )

    assert done.status == 1
    assert "at least 60" in done.err
    assert "--generate" in done.err
    assert "tundra" not in done.err
    assert not (laptop.home / "words").exists()

    strong = secret(laptop, "strong", STRONG)
    done = laptop.ok(
        "register", host.url, *options, "--new-passphrase-file", strong,
        "--recovery-file", laptop.home / "words",
    )  # fmt: skip
    assert f"{file} still has the old passphrase" in done.err
    assert laptop.awvault("status", "--passphrase-file", file).status == 1
    laptop.ok("status", "--passphrase-file", strong)


def test_words_that_nobody_can_write_down_are_not_made(
    laptop: Machine, host: HostProcess
) -> None:
    """Without a terminal and without a file, nothing is registered."""
    laptop.ok("init")

    done = laptop.awvault("register", host.url, "--username", "alice")

    assert done.status == 1
    assert "--recovery-file" in done.err
    assert laptop.awvault("remote").status == 1
    register(laptop, host)


def test_a_host_that_is_away_is_status_3(laptop: Machine, host: HostProcess) -> None:
    """So that a script can try again later."""
    register(laptop, host)
    host.kill()

    for command in (["usage", "--host"], ["sessions", "list"]):
        done = laptop.awvault(*command)
        assert done.status == 3, done
        assert "cannot be reached" in done.err


def test_two_machines_share_an_account(
    laptop: Machine, desk: Machine, host: HostProcess
) -> None:
    """What the second had recorded is its client's in the account, and starts go on."""
    register(laptop, host)
    add(laptop, "from the laptop")
    laptop.ok("sync")
    desk.ok("init")
    add(desk, "from the desk")
    before = generated(desk)
    account = secret(desk, "account", generated(laptop))

    done = desk.ok(
        "login", host.url, "--username", "alice", "--label", "the desk",
        "--account-passphrase-file", account, "--json",
    )  # fmt: skip

    made = done.json()
    assert (made["client_number"], made["clients"], made["events_moved"]) == (2, 2, 1)
    assert "kept in" in done.err
    assert generated(desk) == generated(laptop) != before
    assert texts(desk) == {"from the desk"}
    with desk.server():
        assert texts(desk) == {"from the desk"}
        buckets = desk.ok("buckets", "--json").json()
    others = [bucket for bucket in buckets if not bucket["own"]]
    assert [(bucket["events"], bucket["client_label"]) for bucket in others] == [
        (1, clients_label(laptop))
    ]
    clients = desk.ok("clients", "list", "--json").json()
    assert [client["number"] for client in clients] == [1, 2]
    assert [client["own"] for client in clients] == [False, True]
    assert clients[1]["label"] == "the desk"


def test_a_login_with_the_wrong_passphrase_leaves_the_machine_alone(
    laptop: Machine, desk: Machine, host: HostProcess
) -> None:
    """The generated file still opens what was there."""
    register(laptop, host)
    desk.ok("init")
    add(desk, "from the desk")
    wrong = secret(desk, "account", STRONG)
    before = generated(desk)

    done = desk.awvault(
        "login", host.url, "--username", "alice", "--account-passphrase-file", wrong
    )

    assert done.status == 1
    assert "one of the two is another" in done.err
    assert generated(desk) == before
    assert texts(desk) == {"from the desk"}


def test_a_passphrase_is_changed_and_the_file_follows(
    laptop: Machine, host: HostProcess
) -> None:
    """With six new words, and with a file; the old one opens nothing any more."""
    register(laptop, host)
    before = generated(laptop)

    done = laptop.ok("passphrase", "change", "--generate", "--json")

    after = generated(laptop)
    assert before != after
    assert done.json()["changed"] is True
    assert done.json()["passphrase_file"] == str(laptop.generated_files[0])
    laptop.ok("passphrase", "check")
    old = secret(laptop, "old", before)
    assert laptop.awvault("status", "--passphrase-file", old).status == 1

    strong = secret(laptop, "strong", STRONG)
    laptop.ok("passphrase", "change", "--new-passphrase-file", strong)
    assert generated(laptop) == STRONG
    assert len(laptop.generated_files) == 1


def test_a_passphrase_that_was_changed_elsewhere_is_taken_over(
    laptop: Machine, desk: Machine, host: HostProcess
) -> None:
    """The other machine goes on with the one it knows until it is proved there."""
    register(laptop, host)
    account = secret(desk, "account", generated(laptop))
    desk.ok(
        "login", host.url, "--username", "alice", "--passphrase-file", account,
        "--account-passphrase-file", account,
    )  # fmt: skip
    laptop.ok("passphrase", "change", "--generate")
    new = secret(desk, "new", generated(laptop))

    desk.ok("status", "--passphrase-file", account)
    with desk.server("--passphrase-file", account):
        done = desk.awvault("passphrase", "check", "--passphrase-file", new, "--json")
        assert done.json()["changed"] is True, done
    shown = desk.ok("status", "--passphrase-file", new).out
    assert desk.awvault("status", "--passphrase-file", account).status == 1
    # Both show that they know the same account document.
    known = laptop.ok("status", "--json").json()
    assert len(known["document_hash"]) == 20
    assert f"version {known['document_version']}, {known['document_hash']}" in shown


def test_a_machine_that_nobody_sits_at_starts_with_the_new_passphrase(
    laptop: Machine, desk: Machine, host: HostProcess
) -> None:
    """Proved from another file, it is in the generated one from then on."""
    register(laptop, host)
    account = secret(desk, "account", generated(laptop))
    desk.ok("init")
    desk.ok(
        "login", host.url, "--username", "alice", "--account-passphrase-file", account
    )
    desk.ok("passphrase", "change", "--generate")
    new = secret(laptop, "new", generated(desk))
    laptop.ok("sync")

    refused = laptop.awvault("passphrase", "check")
    assert refused.status == 1
    assert "does not open the vault" in refused.err
    assert "--account-passphrase-file" in refused.err

    laptop.ok("passphrase", "check", "--account-passphrase-file", new)

    assert generated(laptop) == generated(desk)
    laptop.ok("status")


def test_a_forgotten_passphrase_is_replaced_with_the_words(
    laptop: Machine, desk: Machine, host: HostProcess
) -> None:
    """On any machine; the one that was there takes the new one over."""
    register(laptop, host)
    words = secret(desk, "words", (laptop.home / "words").read_text())
    strong = secret(desk, "strong", STRONG)
    use: list[str | Path] = ["recovery", "use", host.url, "--username", "alice"]
    use += ["--words-file", words, "--new-passphrase-file", strong]

    desk.ok(*use, "--recovery-file", desk.home / "new words")

    new_words = read_recovery_words((desk.home / "new words").read_text())
    assert new_words != read_recovery_words(words.read_text())
    again = desk.awvault(*use, "--recovery-file", desk.home / "more words")
    assert again.status == 1
    assert "with this recovery key" in again.err
    with laptop.server():
        done = laptop.ok("passphrase", "check", "--json", "--passphrase-file", strong)
        assert done.json()["changed"] is True
    assert generated(laptop) == STRONG
    laptop.ok("recovery", "new", "--recovery-file", laptop.home / "newest words")


def test_sessions_are_listed_and_ended(
    laptop: Machine, desk: Machine, host: HostProcess
) -> None:
    """What another client leaves open is seen by its label, and can be ended."""
    register(laptop, host)

    done = laptop.awvault("sessions", "revoke", "0123456789abcdef")

    assert done.status == 1
    assert "session" in done.err
    assert laptop.ok("sessions", "list").out == "No client has a session.\n"


def test_a_vault_leaves_its_host_and_comes_back(
    laptop: Machine, host: HostProcess
) -> None:
    """Logged out, the vault is used as before, and its host is gone."""
    register(laptop, host)
    add(laptop, "kept")

    laptop.ok("logout")

    assert laptop.awvault("remote").status == 1
    assert laptop.awvault("logout").status == 1
    assert texts(laptop) == {"kept"}
    account = secret(laptop, "account", generated(laptop))
    again = laptop.ok(
        "login", host.url, "--username", "alice", "--account-passphrase-file", account,
        "--json",
    )  # fmt: skip
    assert again.json()["again"] is True
    assert laptop.ok("remote", "--json").json()["url"] == host.url


def test_leaving_works_while_the_host_is_away(
    laptop: Machine, host: HostProcess
) -> None:
    """The host is forgotten at once; that its session goes on for a while is said."""
    register(laptop, host)
    host.kill()

    done = laptop.ok("logout")

    assert "30 idle days" in done.err


def test_an_account_is_deleted_wholly_at_its_host(
    laptop: Machine, host: HostProcess
) -> None:
    """Asked for, with the passphrase; the vault stays, and can go to a host again."""
    register(laptop, host)
    add(laptop, "kept")
    wrong = secret(laptop, "wrong", STRONG)
    delete = ("logout", "--delete-account")

    asked = laptop.awvault(*delete)
    assert (asked.status, "--yes" in asked.err) == (1, True)
    assert laptop.awvault("logout", "--yes").status == 2
    refused = laptop.awvault(*delete, "--yes", "--passphrase-file", wrong)
    assert refused.status == 1
    assert len(host.json("admin", "accounts", "list")["accounts"]) == 1

    done = laptop.ok(*delete, "--yes", "--json")

    assert done.json() == {"url": host.url, "username": "alice"}
    assert "the vault stays here" in done.err
    assert host.json("admin", "accounts", "list")["accounts"] == []
    assert laptop.awvault("remote").status == 1
    assert texts(laptop) == {"kept"}
    laptop.ok("register", host.url, "--username", "alice")
    laptop.ok("sync")
    assert laptop.ok("usage", "--host", "--json").json()["entries"] > 0


def test_a_person_types_the_name_of_the_account_to_delete(
    laptop: Machine, host: HostProcess
) -> None:
    """Through the running server too, where a wrong passphrase deletes nothing."""
    register(laptop, host)
    with dialog(laptop, "logout", "--delete-account") as person:
        person.expect("Type the username to delete the account there: ")
        person.type("bob")
        person.expect("nothing was deleted")
        assert person.end() == 1
    wrong = secret(laptop, "wrong", STRONG)
    with laptop.server():
        refused = laptop.awvault(
            "logout", "--delete-account", "--yes", "--passphrase-file", wrong
        )
        assert "does not open the vault" in refused.err
        assert len(host.json("admin", "accounts", "list")["accounts"]) == 1
        with dialog(laptop, "logout", "--delete-account") as person:
            person.expect("Type the username to delete the account there: ")
            person.type("alice")
            person.expect("has deleted the account of alice, it says.")
            assert person.end() == 0
    assert host.json("admin", "accounts", "list")["accounts"] == []


def test_host_view_is_fetched_from_the_host(laptop: Machine, host: HostProcess) -> None:
    """What the host has, whatever is here; --local needs neither host nor passphrase.

    A vault that has left its host shows its own store.
    """
    register(laptop, host)
    add(laptop, "not sent yet")
    usage = laptop.ok("usage", "--host", "--json").json()

    with laptop.server():
        view = laptop.ok("host-view", "--json").json()
    text = laptop.ok("host-view").out
    missing = laptop.home / "missing"
    local = laptop.ok(
        "host-view", "--local", "--json", "--passphrase-file", missing
    ).json()

    (account,) = view["accounts"]
    assert view["host"] == host.url
    assert account["username"] == "alice"
    assert (account["entries"], account["stored_bytes"]) == (
        usage["entries"],
        usage["stored_bytes"],
    )
    (client,) = account["clients"]
    assert (client["records"], client["head_seq"], client["sizes"]) == (2, 1, None)
    assert account["document_versions"] == 2
    assert account["salt"] in text
    assert "quota: none" in text
    assert f"{host.url} keeps:" in text
    assert local["host"] is None
    assert local["accounts"][0]["salt"] == account["salt"]
    assert local["accounts"][0]["clients"][0]["sizes"]
    host.kill()
    assert laptop.awvault("host-view").status == 3
    laptop.ok("host-view", "--local")
    laptop.ok("logout")
    assert laptop.ok("host-view", "--json").json()["host"] is None


# -- while aw-server runs ------------------------------------------------------


def test_everything_works_through_the_running_server(
    laptop: Machine, desk: Machine, host: HostProcess
) -> None:
    """Registering, changing the passphrase and logging in, with watchers at work."""
    with laptop.server():
        add(laptop, "one")
        register(laptop, host)
        laptop.ok("passphrase", "change", "--generate")
        add(laptop, "two")
        assert laptop.ok("remote", "--json").json()["username"] == "alice"
    assert texts(laptop) == {"one", "two"}
    laptop.ok("sync")

    with desk.server() as server:
        add(desk, "three")
        account = secret(desk, "account", generated(laptop))
        desk.ok(
            "login", host.url, "--username", "alice",
            "--account-passphrase-file", account,
        )  # fmt: skip
        assert server.request("/api/0/buckets/notes/events/count") == 1
        add(desk, "four")
        assert texts(desk) == {"three", "four"}
        events = [bucket["events"] for bucket in desk.ok("buckets", "--json").json()]
        assert sorted(events) == [2, 2]
    assert texts(desk) == {"three", "four"}
    assert generated(desk) == generated(laptop)


# -- with a person -------------------------------------------------------------


def test_a_person_writes_the_words_down(laptop: Machine, host: HostProcess) -> None:
    """24 words are shown once, three are asked for, a wrong answer is asked again."""
    file = secret(laptop, "weak", "plum tundra")
    laptop.ok("init", "--passphrase-file", file)
    with dialog(
        laptop, "register", host.url, "--username", "alice", "--passphrase-file", file
    ) as person:
        person.expect("at least 60 are needed")
        person.expect("press Enter for these six words:")
        person.expect("New passphrase: ")
        person.type("plum")
        person.expect("Once more.")
        person.expect("New passphrase: ")
        person.type(STRONG)
        person.expect("The same again: ")
        person.type(STRONG)
        person.expect("It is shown once.")
        person.expect(" 1 ")
        before = " 1 " + read_until(person, "Word ")
        shown = before.split()
        words = {int(shown[at]): shown[at + 1] for at in range(0, 48, 2)}
        assert len(words) == 24
        read_recovery_words(" ".join(words[place] for place in range(1, 25)))
        for answered in range(3):
            place = int(read_until(person, ": "))
            if answered == 0:
                person.type("wrong")
                person.expect("Look again.")
                person.expect(f"Word {place}: ")
            person.type(words[place].upper())
            if answered < 2:
                person.expect("Word ")
        person.expect("username")
        assert person.end() == 0
    strong = secret(laptop, "strong", STRONG)
    laptop.ok("status", "--passphrase-file", strong)


def test_a_person_logs_in_and_changes_the_passphrase(
    laptop: Machine, desk: Machine, host: HostProcess
) -> None:
    """Each passphrase is asked for, and none is echoed."""
    register(laptop, host)
    with dialog(desk, "login", host.url, "--username", "alice") as person:
        person.expect(f"Passphrase of alice at {host.url}: ")
        person.type(generated(laptop))
        person.expect("number 2")
        assert person.end() == 0
    with dialog(desk, "passphrase", "change") as person:
        person.expect("Passphrase of the vault in ")
        person.type(generated(laptop))
        person.expect("press Enter for these six words:")
        words = read_until(person, "New passphrase: ").strip()
        person.type("")
        person.expect("The same again: ")
        person.type(words)
        person.expect("The new passphrase opens the vault.")
        assert person.end() == 0
    secret(desk, "words", words)
    desk.ok("passphrase", "check", "--passphrase-file", desk.home / "words")


class dialog:  # noqa: N801 - used as a function
    """A command on a terminal, ended whatever happens."""

    def __init__(self, machine: Machine, *arguments: str | Path) -> None:
        self._dialog = Dialog(machine, "awvault", *arguments)

    def __enter__(self) -> Dialog:
        return self._dialog

    def __exit__(self, *_: object) -> None:
        if self._dialog.process.poll() is None:
            self._dialog.process.kill()
            self._dialog.process.wait()


def read_until(person: Dialog, text: str) -> str:
    """Return what is shown before `text`."""
    rest = person.shown
    while text not in rest:
        assert person._read() or text in person.shown, person.shown
        rest = person.shown
    before, _, person.shown = rest.partition(text)
    return before


def test_a_file_with_a_secret_is_called_what_it_is(laptop: Machine) -> None:
    """What others can read is refused, with the name of what it should hold."""
    laptop.ok("init")
    file = secret(laptop, "invite.txt", "a-code\n")
    file.chmod(0o644)
    refused = laptop.awvault(
        "register", "https://aw.example.org", "--username", "alice",
        "--invite-file", file, "--generate",
    )  # fmt: skip
    assert refused.status == 1
    assert f'invitation file "{file}" is open to other users' in refused.err
    assert f"chmod 600 {file}" in refused.err
    refused = laptop.awvault(
        "recovery", "use", "https://aw.example.org", "--username", "alice",
        "--words-file", file, "--generate",
    )  # fmt: skip
    assert refused.status == 1
    assert f'file with recovery words "{file}" is open to other users' in refused.err
