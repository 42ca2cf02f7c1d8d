"""Mutants of what holds only over a whole walk of several clients.

In the form of `mutants.py`: each row takes one defence out, and the test that it
names must fail.
"""

from typing import Final

from tests.adversarial.mutants import _NO_SIGNATURE, mutant

ROUNDS: Final = "awvault.sync.rounds"
ONE_LIE: Final = "test_t43_walk.py::each_lie and"

_CLAIM: Final = """\
        verified = self._replica.heads().get(client_id)
        if verified is None:
            return
        log_name"""
_REFUSED: Final = """\
        except HostRefusedError as error:
            if not self._is_registering():
"""

WALK_MUTANTS: Final = (
    mutant(
        "T43",
        "what other clients have seen is not asked for",
        f"{ONE_LIE} hide",
        (
            ROUNDS,
            "return [*self._replica.mentions().items(), (None,",
            "return []\n        return [*self._replica.mentions().items(), (None,",
        ),
    ),
    mutant(
        "T43",
        "a log may become shorter",
        f"{ONE_LIE} hide",
        (ROUNDS, _CLAIM, "        return\n        log_name"),
    ),
    mutant(
        "T43",
        "a host that throws records away is believed",
        f"{ONE_LIE} store",
        (
            ROUNDS,
            "if known is not None and (mine is None or mine.seq < known.seq):",
            "if False:",
        ),
    ),
    mutant(
        "T43",
        "signatures of records are not looked at",
        f"{ONE_LIE} alter",
        _NO_SIGNATURE,
    ),
    mutant(
        "T43",
        "an unreachable host is an accused one",
        "test_t43_walk.py::accuses_nobody",
        (
            ROUNDS,
            _REFUSED,
            _REFUSED.replace("HostRefused", "(HostRefused").replace(
                "Error as", "Error, TransportError) as"
            ),
        ),
    ),
)
