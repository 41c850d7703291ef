"""The ledger: what the store remembers, in SQL, with a hash-chained audit log."""

from store.ledger.engine import Ledger, ReadTransaction, WriteTransaction

__all__ = ["Ledger", "ReadTransaction", "WriteTransaction"]
