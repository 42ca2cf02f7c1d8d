"""docs/protocol/README.md, keys.md and sealing.md, with other libraries."""

import hmac
import unicodedata
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import mnemonic
from Crypto.Cipher import ChaCha20_Poly1305
from Crypto.Signature import eddsa
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from tests.independent_reader.blake2b import blake2b

_ED25519_PRIME: Final = 2**255 - 19
_ED25519_ORDER: Final = 2**252 + 27742317777372353535851937790883648493


class ReaderError(Exception):
    """The reader cannot go on."""


class WrongPassphraseError(ReaderError):
    """The slot does not open, and is the one that the document names."""


class AlteredError(ReaderError):
    """What is stored is not what its owner sealed."""


class NewerError(ReaderError):
    """A newer program wrote it."""


class PayloadError(ReaderError):
    """A faulty client sealed it."""


class NewerPayloadError(PayloadError, NewerError):
    """Inside of a good seal stands what a newer client wrote."""


@dataclass(frozen=True)
class Costs:
    """The parameters of Argon2id that a program was built with."""

    memory_kib: int = 262144
    passes: int = 3


def lp(*fields: bytes) -> bytes:
    return b"".join(len(field).to_bytes(4, "little") + field for field in fields)


def uint(data: bytes) -> int:
    return int.from_bytes(data, "little")


def hashed(label: str, data: bytes, size: int = 32) -> bytes:
    return blake2b(size, label.encode(), data)


def derived(key: bytes, label: str, data: bytes = b"", size: int = 32) -> bytes:
    assert len(key) in {32, 64}
    return blake2b(size, label.encode(), data, key=key)


def passphrase_key(typed: str, username: str, salt: bytes, costs: Costs) -> bytes:
    """Return the 64 bytes of keys.md, "Passphrase key"."""
    return Argon2id(
        salt=hashed("salt", lp(username.encode()) + salt, 16),
        length=64,
        iterations=costs.passes,
        lanes=1,
        memory_cost=costs.memory_kib,
    ).derive(unicodedata.normalize("NFKC", typed).encode())


def recovery_key_of(typed: str) -> bytes:
    """Return the 32 bytes of keys.md, "Recovery key"."""
    listed = _english_words()
    words = typed.lower().split()
    if len(words) != 24 or not set(words) <= set(listed):
        raise AlteredError("these are not 24 words of the list")
    bits = "".join(f"{listed.index(word):011b}" for word in words)
    key = int(bits[:256], 2).to_bytes(32, "big")
    if sha256(key).digest()[0] != int(bits[256:], 2):
        raise AlteredError("the words do not belong together")
    return key


def _english_words() -> list[str]:
    """Return the list of BIP-39: a package of ours brings it, as a file."""
    file = Path(mnemonic.__file__).with_name("wordlist") / "english.txt"
    return file.read_text("utf-8").split()


def opened(key: bytes, label: str, context: bytes, sealed: bytes, what: str) -> bytes:
    """Open a committing seal: salt || commitment || ciphertext."""
    salt, commitment, ciphertext = sealed[:24], sealed[24:56], sealed[56:]
    both = derived(key, label, salt + hashed("context", context), 64)
    plaintext = None
    if len(ciphertext) >= 16 and hmac.compare_digest(both[32:], commitment):
        plaintext = _decrypted(
            both[:32], bytes(24), ciphertext, context + salt + commitment
        )
    if plaintext is None:
        raise AlteredError(f"{what} does not open")
    return plaintext


def opened_row(key: bytes, context: bytes, sealed: bytes, what: str) -> bytes:
    """Open the seal of a row: nonce || ciphertext."""
    plaintext = None
    if len(sealed) >= 40:
        plaintext = _decrypted(key, sealed[:24], sealed[24:], context)
    if plaintext is None:
        raise AlteredError(f"{what} does not open")
    return plaintext


def _decrypted(key: bytes, nonce: bytes, ciphertext: bytes, ad: bytes) -> bytes | None:
    cipher = ChaCha20_Poly1305.new(key=key, nonce=nonce)
    cipher.update(ad)
    try:
        return cipher.decrypt_and_verify(ciphertext[:-16], ciphertext[-16:])
    except ValueError:
        return None


def check_signed(
    public: bytes, label: str, message: bytes, signature: bytes, what: str
) -> None:
    """Raise unless `public` signed LP(label) || message, in the one encoding."""
    if len(public) == 32 and len(signature) == 64 and _is_canonical(public, signature):
        try:
            key = eddsa.import_public_key(public)
            if not (key.pointQ * 8).is_point_at_infinity():
                verifier = eddsa.new(key, "rfc8032")
                verifier.verify(lp(label.encode()) + message, signature)
                return
        except ValueError:
            pass
    raise AlteredError(f"the signature of {what} is not by its key")


def _is_canonical(public: bytes, signature: bytes) -> bool:
    y = uint(public) & (2**255 - 1)
    return y < _ED25519_PRIME and uint(signature[32:]) < _ED25519_ORDER


def ed25519_public(seed: bytes) -> bytes:
    """Return the public key of a seed."""
    public = eddsa.import_private_key(seed).public_key().export_key(format="raw")
    assert isinstance(public, bytes)
    return public


class Fields:
    """Reads one field after the other."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self.at = 0

    def take(self, size: int) -> bytes:
        if self.at + size > len(self._data):
            raise AlteredError(f"{self._what} ends too early")
        self.at += size
        return self._data[self.at - size : self.at]

    def uint(self, size: int) -> int:
        return uint(self.take(size))

    def lp(self) -> bytes:
        return self.take(self.uint(4))

    def end(self) -> None:
        if self.at != len(self._data):
            raise AlteredError(f"{self._what} goes on after its end")
