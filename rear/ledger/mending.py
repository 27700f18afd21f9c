"""What an operator does when a ledger and its anchor disagree: explicitly, and on the record."""

from __future__ import annotations

from dataclasses import dataclass

from rear import failpoints
from rear.domain.events import Cause, LedgerOpened, LossAccepted, WriterChanged
from rear.domain.state import Service, evolve_service
from rear.domain.window import Instant
from rear.ledger.anchor import Anchor, AnchorPoint
from rear.ledger.chain import GENESIS
from rear.ledger.commit import Identity
from rear.ledger.errors import LedgerDamaged, LedgerError
from rear.ledger.landing import APPEND_TIMEOUT
from rear.ledger.opening import Tip, check_anchor, inside_of_a_commit
from rear.ledger.reader import read_proved
from rear.ledger.sealing import seal
from rear.ledger.sources import Clock, Ids
from rear.ledger.stream import EventStream


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was accepted: where the anchor stood (0: there was none), and where the ledger goes on."""

    anchored: int
    found: int


@dataclass(frozen=True, slots=True)
class _Found:
    """The ledger as far as it proves itself."""

    tip: Tip
    service: Service
    last_recorded: Instant


async def accept_loss(
    stream: EventStream, anchor: Anchor, identity: Identity, reason: str, *, clock: Clock, ids: Ids
) -> Accepted:
    """Takes the ledger as it is for the whole of it: writes LossAccepted, and moves the anchor there.

    Raises LedgerError where there is nothing to accept, and LedgerDamaged where what is left does not hash: that
    cannot be accepted, only restored.
    """
    if not await _disagrees(stream, anchor):
        raise LedgerError("the ledger agrees with its anchor: there is no loss to accept")
    last = await stream.last()
    if last is not None and not last.ends_commit:
        raise LedgerDamaged(inside_of_a_commit(last.sequence))
    found = await _read(stream, identity)
    point = _point(anchor)
    now = Instant(max(clock.now(), found.last_recorded))
    event = LossAccepted(
        identity.service,
        found.service.version + 1,
        Cause(now, now),
        anchored_sequence=point.sequence if point else 0,
        anchored_hash=point.hash if point else "",
        found_sequence=found.tip.sequence,
        reason=reason,
    )
    message = seal(event, identity, ids, found.tip.hash)
    end = await stream.append([message], found.tip.sequence, timeout=APPEND_TIMEOUT)
    failpoints.reach("mending.before_anchor")
    anchor.replace(AnchorPoint(found.service.log_id, end, message.hash))
    return Accepted(event.anchored_sequence, found.tip.sequence)


async def _disagrees(stream: EventStream, anchor: Anchor) -> bool:
    try:
        await check_anchor(stream, anchor)
    except LedgerDamaged:
        return True
    return False


async def _read(stream: EventStream, identity: Identity) -> _Found:
    tip, service, recorded = Tip(), Service(), Instant(0)
    async for page in read_proved(stream, after=0, hash=GENESIS):
        for item in page:
            tip, recorded = Tip(item.sequence, item.hash), item.event.cause.recorded_at
            if isinstance(item.event, LedgerOpened | WriterChanged | LossAccepted):
                service = evolve_service(service, item.event)
    if not service.log_id:
        raise LedgerError(
            f"nothing is left of the ledger of {identity.source}: there is nothing to go on from; "
            "restore the store from a copy, or begin with a new state directory"
        )
    return _Found(tip, service, recorded)


def _point(anchor: Anchor) -> AnchorPoint | None:
    try:
        return anchor.read()
    except LedgerDamaged:
        return None
