"""What can go wrong between us and the ledger, by what the caller may conclude from it."""

from __future__ import annotations


class LedgerError(Exception):
    """Anything that went wrong with the ledger. The message says what, where and what to do."""


class LedgerUnavailable(LedgerError):
    """The ledger's server cannot be reached, does not answer or lacks resources. Nothing was written."""


class NotLetIn(LedgerUnavailable):
    """The server does not let us in as we are, or we do not trust it: a password, a certificate, a permission."""


class OutcomeUnknown(LedgerError):
    """The messages were sent and no acknowledgement came: they may have been written, or may be yet."""


class TipConflict(LedgerError):
    """The ledger's tip is not where the writer believed it to be. Nothing was written."""


class LedgerDamaged(LedgerError):
    """What the ledger holds is not what it must hold: shorter, different, with a gap, or not readable."""


class EventLost(LedgerDamaged):
    """An event that must be there is missing, or cannot be read; `sequence` is its place."""

    def __init__(self, message: str, sequence: int) -> None:
        super().__init__(message)
        self.sequence = sequence


class LedgerMissing(LedgerDamaged):
    """There is no stream of that name."""


class StoreLocked(LedgerError):
    """Another process holds the store's lock, and did not let go of it in time."""
