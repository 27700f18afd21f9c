"""Opening a ledger: anchor, replay and fence, before anything is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from rear import failpoints
from rear.domain.events import Cause, LedgerOpened, WriterChanged
from rear.domain.state import State, Step
from rear.domain.window import Instant
from rear.ledger.anchor import Anchor, AnchorPoint
from rear.ledger.chain import GENESIS, link
from rear.ledger.commit import Committed, Identity
from rear.ledger.errors import LedgerDamaged, LedgerError, OutcomeUnknown, TipConflict
from rear.ledger.landing import APPEND_TIMEOUT
from rear.ledger.reader import Recorded, read_proved
from rear.ledger.sealing import seal
from rear.ledger.sources import Clock, Ids
from rear.ledger.stream import EventStream, Outgoing
from rear.ledger.writer import Writer

log = structlog.get_logger(__name__)


class Overtaken(LedgerError):
    """Another process became the writer before this one did: `endpoint` is where it is."""

    def __init__(self, epoch: int, endpoint: str) -> None:
        super().__init__(f"the process at {endpoint} has become the ledger's writer meanwhile, in epoch {epoch}")
        self.epoch = epoch
        self.endpoint = endpoint


ACCEPT_LOSS = "restore the store from a copy, or accept the loss with `rear ledger accept-loss`"


@dataclass(frozen=True, slots=True)
class Tip:
    """A place in a ledger that is proved: a sequence and its hash."""

    sequence: int = 0
    hash: str = GENESIS


async def check_anchor(stream: EventStream, anchor: Anchor) -> AnchorPoint | None:
    """Holds the ledger against the anchor; LedgerDamaged where it is shorter or different, or the anchor is gone.

    None where neither a ledger nor an anchor is there yet.
    """
    point = anchor.read()
    tip = await stream.tip()
    if point is None:
        if tip == 0:
            return None
        raise LedgerDamaged(
            f"the ledger has {tip} events but its anchor {anchor.path} is gone, so nothing tells whether events "
            f"are missing; {ACCEPT_LOSS}"
        )
    if tip < point.sequence:
        raise LedgerDamaged(
            f"the ledger ends at {tip}, but {point.sequence} was acknowledged: its end is lost; {ACCEPT_LOSS}"
        )
    if point.sequence > 0:
        stored = await stream.get(point.sequence)
        before = await stream.get(point.sequence - 1) if point.sequence > 1 else None
        previous = before.hash if before is not None else GENESIS
        if stored is None or link(previous, stored.subject, stored.payload) != point.hash:
            raise LedgerDamaged(
                f"the event at {point.sequence} is not the one that was acknowledged there; {ACCEPT_LOSS}"
            )
    return point


def inside_of_a_commit(sequence: int) -> str:
    """What is said of a ledger whose last commit is not whole."""
    return (
        f"the ledger ends at {sequence}, inside of a commit, the rest of which was dropped: half of a change is no "
        "change; restore the store from a copy"
    )


async def replay(stream: EventStream, state: State, tip: Tip, replayed: Callable[[Sequence[Committed]], None]) -> Tip:
    """Brings `state` from `tip` to the end of the ledger, proving each event; hands on every page."""
    async for page in read_proved(stream, after=tip.sequence, hash=tip.hash):
        batch = [Committed(item.sequence, item.hash, item.payload, _follow(state, item)) for item in page]
        if batch:
            replayed(batch)
            tip = Tip(batch[-1].sequence, batch[-1].hash)
    return tip


def _follow(state: State, item: Recorded) -> Step:
    try:
        return state.apply(item.event)
    except (KeyError, ValueError) as error:
        raise LedgerDamaged(
            f"the event at {item.sequence} does not follow from those before it ({error}); restore the store from a "
            "copy"
        ) from error


async def become_writer(
    stream: EventStream,
    anchor: Anchor,
    state: State,
    tip: Tip,
    identity: Identity,
    *,
    endpoint: str,
    clock: Clock,
    ids: Ids,
    replayed: Callable[[Sequence[Committed]], None],
    deposing: int | None = None,
) -> Writer:
    """Fences the ledger with `WriterChanged`, and returns its writer, not yet started.

    A dead writer's last batch may still be landing: on a conflict it reads on and tries again. `deposing` is the epoch
    of the writer that is to be followed; where another one is found, Overtaken is raised and nothing is written.
    Without it, whoever is the writer is deposed.
    """
    point = await check_anchor(stream, anchor)
    if point is None:
        point = AnchorPoint(ids.new(), 0, GENESIS)
        anchor.write(point)
        failpoints.reach("opening.begun")
    last = await stream.last()
    if last is not None and not last.ends_commit:
        raise LedgerDamaged(inside_of_a_commit(last.sequence))
    tried: set[str] = set()
    while True:
        tip = await replay(stream, state, tip, replayed)
        if state.service.log_id and point.sequence == 0:  # nothing was acknowledged to it: whoever was faster began
            point = replace(point, log_id=state.service.log_id)
        if state.service.log_id and state.service.log_id != point.log_id:
            raise LedgerDamaged(
                f"the anchor {anchor.path} belongs to ledger {point.log_id}, but this is {state.service.log_id}; "
                "name the state directory that belongs to this store"
            )
        if deposing is not None and state.service.epoch != deposing:
            if tip.hash not in tried:
                raise Overtaken(state.service.epoch, state.service.endpoint)
            deposing = state.service.epoch  # our own, of which no acknowledgement came
        now = Instant(max(clock.now(), state.last_recorded))
        events = _opening(state, point.log_id, identity, endpoint, Cause(now, now))
        messages = _messages(events, identity, ids, tip)
        tried.add(messages[-1].hash)
        failpoints.reach("opening.replayed")
        sent = failpoints.reaching("opening.after_publish")
        try:
            end = await stream.append(messages, tip.sequence, timeout=APPEND_TIMEOUT, sent=sent)
        except (TipConflict, OutcomeUnknown) as error:
            log.info("reading on before becoming the writer", because=str(error))
            continue
        break
    failpoints.reach("opening.after_fence")
    first = end - len(events) + 1
    replayed(
        [
            Committed(first + index, message.hash, message.payload, state.apply(event))
            for index, (event, message) in enumerate(zip(events, messages, strict=True))
        ]
    )
    anchor.write(AnchorPoint(point.log_id, end, messages[-1].hash))
    failpoints.reach("opening.after_anchor")
    log.info("writer of the ledger", log_id=point.log_id, epoch=state.service.epoch, sequence=end)
    return Writer(stream, anchor, state, identity, clock=clock, ids=ids, sequence=end, hash=messages[-1].hash)


def _opening(
    state: State, log_id: str, identity: Identity, endpoint: str, cause: Cause
) -> tuple[LedgerOpened | WriterChanged, ...]:
    service, events = state.service, []
    version = service.version
    if not service.log_id:
        version += 1
        events.append(LedgerOpened(identity.service, version, cause, log_id=log_id))
    changed = WriterChanged(identity.service, version + 1, cause, epoch=service.epoch + 1, endpoint=endpoint)
    return (*events, changed)


def _messages(events: Sequence[LedgerOpened | WriterChanged], identity: Identity, ids: Ids, tip: Tip) -> list[Outgoing]:
    messages: list[Outgoing] = []
    head = tip.hash
    for event in events:
        messages.append(seal(event, identity, ids, head))
        head = messages[-1].hash
    return messages
