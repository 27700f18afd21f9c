"""The Virtual Fabric Manager, provider side: whether a contract covers what is asked for, and the offer (step 26)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog

from rear import failpoints, tracing
from rear.domain import allocation as allocations
from rear.domain import contract as contracts
from rear.domain.allocation import Allocation, AllocationState, Peering
from rear.domain.contract import Contract
from rear.domain.events import AllocationEvent, AnyEvent, Cause
from rear.domain.fabric import (
    FabricRefuses,
    FabricUnavailable,
    Grant,
    ResourceOffer,
    ResourceRequest,
    Slice,
    check_covers,
    slice_of,
)
from rear.domain.lifecycle import ContractState
from rear.domain.refusals import ContractNotFound, FabricNotReady, InvalidField, NotServed, WrongState
from rear.domain.value import value
from rear.domain.window import SECOND, Instant
from rear.ledger.commit import Decision
from rear.managers.provider import endings
from rear.managers.provider.provider import Provider

log = structlog.get_logger(__name__)


class Granting(Protocol):
    """A fabric, as far as its provider's side is concerned."""

    @property
    def name(self) -> str:
        """Which fabric it is, as offers name it."""
        ...

    async def grant(self, asked: Slice) -> Grant:
        """Opens a contract's resources to its consumer, as often as it is asked: the credential stays the same.

        Raises FabricUnavailable or FabricRefuses; what is refused fails the allocation.
        """
        ...


@value
class Offered:
    """An offer, the contract that covers it, the instant of the decision, and the position at which it stands."""

    offer: ResourceOffer
    contract: Contract
    at: Instant
    position: str


@value
class _Peered:
    contract: Contract
    allocation: Allocation
    at: Instant


class FabricManager:
    """Answers requests for the resources of contracts. Every answer is durable, and the same at each repetition."""

    def __init__(self, provider: Provider, fabric: Granting) -> None:
        self._provider = provider
        self._fabric = fabric

    async def request(self, asked: ResourceRequest, *, caller: str) -> Offered:
        """Peers the allocation of a contract of the caller's, and offers what it stands for.

        What is due is done with it: a window that has begun makes contract and allocation active. Raises
        ContractNotFound, WrongState, InvalidField, NotServed or FabricNotReady.
        """
        with tracing.span("peer an allocation", contract=asked.contract_id):
            outcome = await self._provider.writer.submit(lambda now: self._decide(asked, caller, now))
            peered = outcome.answer
            failpoints.reach("fabric.granted")
            stands = peered.allocation
            grant = await self._grant(slice_of(stands, caller))
        offer = ResourceOffer(
            asked.contract_id,
            stands.id,
            self._fabric.name,
            grant,
            stands.quantities,
            stands.units,
            stands.window,
            stands.state is AllocationState.ACTIVE,
        )
        return Offered(offer, peered.contract, peered.at, str(outcome.position))

    def _decide(self, asked: ResourceRequest, caller: str, now: Instant) -> Decision[_Peered]:
        found = self._find(asked.contract_id, caller)
        due = contracts.pass_time(found, now)
        contract = found if due is None else contracts.evolve(found, due)
        _check_agreed(contract)
        check_covers(contract, asked)
        stands = self._provider.state.allocations[contract.allocation_id]
        if stands.state is AllocationState.FAILED:
            raise _cannot_carry(contract.id)
        events = list(endings.by_time(self._provider, found, now))
        stands = _after(stands, events)
        cause = Cause(now, now, caller)
        peered = allocations.peer(stands, Peering(caller, self._fabric.name, ""), cause)
        if peered is not None:
            events.append(peered)
            stands = allocations.evolve(stands, peered)
        activated = allocations.activate_if_due(stands, contract.state, cause)
        if activated is not None:
            events.append(activated)
            stands = allocations.evolve(stands, activated)
        return Decision(events, _Peered(contract, stands, now))

    def _find(self, key: str, caller: str) -> Contract:
        if not key:
            raise InvalidField("contract_id", "is required")
        found = self._provider.find_contract(key)
        if found is None or found.buyer_id != caller:
            raise ContractNotFound(f"there is no contract {key} of {caller}", {"contract_id": key})
        return found

    async def _grant(self, asked: Slice) -> Grant:
        try:
            return await self._fabric.grant(asked)
        except FabricUnavailable as error:
            log.warning("the fabric does not answer", contract=asked.contract_id, because=str(error))
            raise FabricNotReady(
                f"the fabric cannot offer the resources of contract {asked.contract_id} now; ask again",
                SECOND,
                because=str(error),
            ) from error
        except FabricRefuses as error:
            log.error("the fabric cannot carry a contract", contract=asked.contract_id, because=str(error))
            raise _cannot_carry(asked.contract_id) from error


def _after(stands: Allocation, events: Sequence[AnyEvent]) -> Allocation:
    for event in events:
        if isinstance(event, AllocationEvent):
            stands = allocations.evolve(stands, event)
    return stands


def _check_agreed(contract: Contract) -> None:
    if contract.state in (ContractState.CONFIRMED, ContractState.ACTIVE):
        return
    if contract.state is ContractState.RESERVED:
        raise WrongState(
            f"contract {contract.id} is RESERVED: purchase it first, then ask for its resources",
            {"contract_id": contract.id, "state": contract.state.value},
        )
    raise contracts.wrong_state(contract, "peered")


def _cannot_carry(contract_id: str) -> NotServed:
    return NotServed("contract_id", f"the fabric of this provider cannot carry contract {contract_id}")
