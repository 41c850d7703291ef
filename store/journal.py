"""The journal of an adoption that was broken off, read once for the run that goes on."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from manifests.digest import Digest
from store.adopted import journal_key
from store.ledger import ReadTransaction
from store.records import Validator

_KEY, _DIGEST, _SIZE, _MARK = 32, 32, 8, 16
_ROW: Final = _KEY + _DIGEST + _SIZE + _MARK


class Journal:
    """What was taken, by path. A million files need 88 MB: rows of bytes, to be bisected."""

    def __init__(self, tx: ReadTransaction, repository: str) -> None:
        rows = bytearray()
        for key, one in tx.validators(journal_key(repository)):
            rows += bytes.fromhex(key) + bytes.fromhex(one.digest)
            rows += one.size.to_bytes(_SIZE) + _short(one.etag)
        self._rows = bytes(rows)

    def taken(self, path: str, mark: str) -> Validator | None:
        """What was taken as ``path`` when the file had this mark."""
        key = sha256(path.encode()).digest()
        low, high = 0, len(self._rows) // _ROW
        while low < high:
            middle = (low + high) // 2
            if self._rows[middle * _ROW : middle * _ROW + _KEY] < key:
                low = middle + 1
            else:
                high = middle
        row = self._rows[low * _ROW : (low + 1) * _ROW]
        if row[:_KEY] != key or row[-_MARK:] != _short(mark):
            return None
        digest = Digest(row[_KEY : _KEY + _DIGEST].hex())
        return Validator(mark, "", digest, int.from_bytes(row[-_MARK - _SIZE : -_MARK]))


def _short(mark: str) -> bytes:
    return sha256(mark.encode()).digest()[:_MARK]
