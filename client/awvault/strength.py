"""How hard a passphrase is to guess.

On one machine that is its owner's own business. A host keeps what the passphrase
opens, and so does whoever steals its database: there a weak one is refused.
"""

import math
from collections.abc import Sequence
from typing import Final

from awvault.crypto.keys import Passphrase
from awvault.errors import WeakPassphraseError

REMOTE_BITS_MIN: Final = 60
"""Bits of a passphrase whose slot lies on a host.

With one guess a second on each of a million machines, 2^60 guesses take 18,000
years on average; a passphrase of 40 bits would take six days.
"""

ESTIMATED_CHARS_MAX: Final = 72
"""What follows is not looked at: the estimator takes no more, and works slower
the more it gets."""


def estimate_bits(passphrase: Passphrase, *, known: Sequence[str] = ()) -> float:
    """Return the logarithm of the guesses that somebody needs.

    `known`: what he would try first, such as the username. It counts characters
    that look random as 3.3 bits each, which is cautious.
    """
    # Imported here: its lists of words take 20 MB and half a tenth of a second.
    from zxcvbn import zxcvbn

    text = passphrase.reveal().decode()[:ESTIMATED_CHARS_MAX]
    return math.log2(zxcvbn(text, user_inputs=list(known))["guesses"])


def require_strong(passphrase: Passphrase, *, known: Sequence[str] = ()) -> None:
    """Raise `WeakPassphraseError` for one that must not go to a host."""
    bits = estimate_bits(passphrase, known=known)
    if bits < REMOTE_BITS_MIN:
        raise WeakPassphraseError(bits=bits, bits_min=REMOTE_BITS_MIN)
