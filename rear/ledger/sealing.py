"""From an event to the message that stands for it in a ledger: encoded, addressed, and chained to the one before."""

from __future__ import annotations

from rear.domain.events import AnyEvent
from rear.ledger.chain import link
from rear.ledger.codec import encode, subject_of
from rear.ledger.commit import Identity
from rear.ledger.message import Outgoing
from rear.ledger.sources import Ids


def seal(event: AnyEvent, identity: Identity, ids: Ids, previous: str) -> Outgoing:
    """The event's message after the hash `previous`, with an id of its own.

    Raises ValueError where the event cannot be encoded or its aggregate's id is no token of a subject.
    """
    subject = subject_of(identity.service, event)
    payload = encode(event, event_id=ids.new(), source=identity.source, subject=subject)
    return Outgoing(subject, payload, link(previous, subject, payload))
