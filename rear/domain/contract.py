"""The Contract aggregate, as its seller keeps it."""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from rear.domain.demand import Demand
from rear.domain.events import (
    Cause,
    ContractActivated,
    ContractCancelled,
    ContractCompleted,
    ContractEvent,
    ContractExpired,
    ContractPurchased,
    ContractReserved,
    ContractRevoked,
)
from rear.domain.lifecycle import CONTRACT_LIFECYCLE, LIVE_STATES, ContractState, Ending, Trigger
from rear.domain.price import Money
from rear.domain.refusals import InvalidField, RequestIdReused, RevisionMismatch, TtpPassed, WrongState
from rear.domain.units import UnitShare
from rear.domain.value import value
from rear.domain.window import Instant, Window

PURCHASE: Final = "purchase"
CANCEL: Final = "cancel"
REVOKE: Final = "revoke"


@value
class VerbRequest:
    """A request that changed a contract after it was reserved."""

    verb: str
    request_id: str
    fingerprint: bytes


@value
class Contract:
    """A contract after its newest event; `version` is its revision."""

    id: str
    version: int
    buyer_id: str
    flavour_id: str
    pool_id: str
    partition: Demand
    assigned_units: tuple[UnitShare, ...]
    window: Window
    state: ContractState
    purchase_before: Instant | None
    price: Money | None
    priority: int
    fingerprint: bytes
    allocation_id: str
    chain_id: str
    request_id: str
    created_at: Instant
    updated_at: Instant
    ending: Ending | None = None
    requests: tuple[VerbRequest, ...] = ()

    @property
    def live(self) -> bool:
        """Whether it holds capacity."""
        return self.state in LIVE_STATES


def contract_id(provider_id: str, caller: str, request_id: str) -> str:
    """The id that a reservation will have: the buyer can compute it, and refuses another.

    The UUIDv5 of `<caller>\\n<request_id>` in the namespace UUIDv5(URL, provider_id). Every reservation needs one, and
    `uuid.uuid5`, which goes by way of a number and an object, takes two and a half times as long.
    """
    name = f"{caller}\n{request_id}".encode()
    digits = sha1(_namespace(provider_id) + name, usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


@cache
def _namespace(provider_id: str) -> bytes:
    return uuid5(NAMESPACE_URL, provider_id).bytes


def evolve(contract: Contract | None, event: ContractEvent) -> Contract:
    """The contract after `event`. Pure."""
    if isinstance(event, ContractReserved):
        return Contract(
            event.originator_id,
            event.originator_version,
            event.buyer_id,
            event.flavour_id,
            event.pool_id,
            event.partition,
            event.assigned_units,
            event.window,
            event.state,
            event.purchase_before,
            event.price,
            event.priority,
            event.fingerprint,
            event.allocation_id,
            event.chain_id,
            event.cause.request_id,
            event.cause.at,
            event.cause.at,
        )
    if contract is None:
        raise ValueError("a contract's first event must be ContractReserved")
    requests = contract.requests
    request_id = event.cause.request_id
    ending: Ending | None = None
    match event:
        case ContractPurchased(fingerprint=fingerprint):
            trigger = Trigger.PURCHASE
            requests = (*requests, VerbRequest(PURCHASE, request_id, fingerprint))
        case ContractActivated():
            trigger = Trigger.WINDOW_STARTED
        case ContractCancelled(actor=actor, reason=reason, fingerprint=fingerprint):
            trigger, ending = Trigger.CANCEL, Ending(actor, reason)
            requests = (*requests, VerbRequest(CANCEL, request_id, fingerprint))
        case ContractExpired(reason=reason):
            trigger, ending = Trigger.TTP_PASSED, Ending("", reason)
        case ContractCompleted(reason=reason):
            trigger, ending = Trigger.WINDOW_ENDED, Ending("", reason)
        case ContractRevoked(actor=actor, reason=reason, fingerprint=fingerprint):
            trigger, ending = Trigger.REVOKE, Ending(actor, reason)
            requests = (*requests, VerbRequest(REVOKE, request_id, fingerprint))
    return Contract(  # by position, without `replace`: a replay does this a million times
        contract.id,
        event.originator_version,
        contract.buyer_id,
        contract.flavour_id,
        contract.pool_id,
        contract.partition,
        contract.assigned_units,
        contract.window,
        CONTRACT_LIFECYCLE[contract.state, trigger],
        contract.purchase_before,
        contract.price,
        contract.priority,
        contract.fingerprint,
        contract.allocation_id,
        contract.chain_id,
        contract.request_id,
        contract.created_at,
        max(contract.updated_at, event.cause.at),
        ending,
        requests,
    )


@value
class VerbCommand:
    """A request to change a contract. `revision` None means whichever it has."""

    request_id: str
    fingerprint: bytes
    revision: int | None


def is_retry(contract: Contract, verb: str, command: VerbCommand) -> bool:
    """Whether the command was carried out before. Raises RequestIdReused where its id meant something else."""
    if command.request_id == contract.request_id:
        raise _reused(command, "reserve")
    for earlier in contract.requests:
        if earlier.request_id == command.request_id:
            if earlier.verb == verb and earlier.fingerprint == command.fingerprint:
                return True
            raise _reused(command, earlier.verb)
    return False


def _reused(command: VerbCommand, verb: str) -> RequestIdReused:
    return RequestIdReused(
        f"request_id {command.request_id!r} was used before, for a {verb} with another body; "
        "take a new one for a new attempt",
        {"request_id": command.request_id},
    )


def purchase(contract: Contract, command: VerbCommand, cause: Cause) -> ContractPurchased | None:
    """Buys what was reserved; None where this very request did so before."""
    if is_retry(contract, PURCHASE, command):
        return None
    if command.revision is None:
        raise InvalidField("revision", "is required: the contract's revision as the buyer knows it")
    if contract.state is ContractState.EXPIRED or (
        contract.state is ContractState.RESERVED
        and contract.purchase_before is not None
        and cause.at >= contract.purchase_before
    ):
        raise TtpPassed(
            f"contract {contract.id} was reserved until its time to purchase ran out; reserve again",
            {"contract_id": contract.id, "state": ContractState.EXPIRED.value},
        )
    _check_revision(contract, command)
    if (contract.state, Trigger.PURCHASE) not in CONTRACT_LIFECYCLE:
        raise wrong_state(contract, "purchased")
    return ContractPurchased(contract.id, contract.version + 1, cause, fingerprint=command.fingerprint)


def cancel(contract: Contract, command: VerbCommand, reason: str, cause: Cause) -> ContractCancelled | None:
    """Ends the contract for its buyer; None where it has ended already."""
    if is_retry(contract, CANCEL, command) or not contract.live:
        return None
    _check_revision(contract, command)
    return ContractCancelled(
        contract.id,
        contract.version + 1,
        cause,
        actor=cause.caller,
        reason=reason,
        fingerprint=command.fingerprint,
    )


def revoke(contract: Contract, command: VerbCommand, reason: str, cause: Cause) -> ContractRevoked | None:
    """Ends the contract for its seller; None where it has ended already."""
    if is_retry(contract, REVOKE, command) or not contract.live:
        return None
    _check_revision(contract, command)
    return ContractRevoked(
        contract.id,
        contract.version + 1,
        cause,
        actor=cause.caller,
        reason=reason,
        fingerprint=command.fingerprint,
    )


def wrong_state(contract: Contract, participle: str) -> WrongState:
    """The refusal of a verb that the contract's state does not allow."""
    return WrongState(
        f"contract {contract.id} is {contract.state.value} and cannot be {participle}",
        {"contract_id": contract.id, "state": contract.state.value},
    )


def _check_revision(contract: Contract, command: VerbCommand) -> None:
    if command.revision is not None and command.revision != contract.version:
        raise RevisionMismatch(
            f"contract {contract.id} has revision {contract.version}, not {command.revision}; read it again",
            {"contract_id": contract.id, "revision": str(contract.version)},
        )


def next_due(contract: Contract) -> Instant | None:
    """The next instant at which time alone changes the contract; None once it has ended."""
    match contract.state:
        case ContractState.RESERVED:
            return contract.purchase_before
        case ContractState.CONFIRMED:
            return contract.window.start
        case ContractState.ACTIVE:
            return contract.window.end
        case _:
            return None


def pass_time(contract: Contract, now: Instant) -> ContractExpired | ContractActivated | ContractCompleted | None:
    """What time alone has done to the contract by `now`, effective when it was due; None where nothing is due."""
    due = next_due(contract)
    if due is None or now < due:
        return None
    version = contract.version + 1
    if contract.state is ContractState.RESERVED:
        return ContractExpired(contract.id, version, Cause(due, now), reason="it was not purchased in time")
    if now >= contract.window.end:
        cause = Cause(contract.window.end, now)
        return ContractCompleted(contract.id, version, cause, reason="its window ended")
    return ContractActivated(contract.id, version, Cause(due, now))
