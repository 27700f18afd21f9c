"""What time does to a contract and what ends it, with all that follows from it for its hold and its allocation."""

from __future__ import annotations

from collections.abc import Sequence

from rear.domain import allocation as allocations
from rear.domain import contract as contracts
from rear.domain import reservation
from rear.domain.contract import Contract
from rear.domain.events import AnyEvent, Cause, ContractActivated
from rear.domain.lifecycle import ContractState
from rear.domain.window import Instant
from rear.managers.provider.provider import Provider


def by_time(provider: Provider, contract: Contract, now: Instant) -> Sequence[AnyEvent]:
    """What time has done to the contract by now; nothing where nothing is due."""
    event = contracts.pass_time(contract, now)
    if event is None:
        return ()
    if isinstance(event, ContractActivated):
        stands = provider.state.allocations[contract.allocation_id]
        activated = allocations.activate_if_due(stands, ContractState.ACTIVE, event.cause)
        return (event,) if activated is None else (event, activated)
    return ended(provider, contract, event, event.reason, Cause(now, now))


def ended(provider: Provider, contract: Contract, event: AnyEvent, reason: str, cause: Cause) -> Sequence[AnyEvent]:
    """The contract's last event, with the release of its hold and its allocation."""
    state = provider.state
    return reservation.end(
        contract,
        state.pools[contract.pool_id],
        state.calendar(contract.pool_id),
        state.allocations[contract.allocation_id],
        event,
        reason,
        provider.promises,
        cause,
    )


def overdue(provider: Provider, now: Instant, pool_id: str | None = None) -> list[Contract]:
    """Reservations whose time to purchase has passed, the longest overdue first: of one pool, or of all."""
    live = provider.state.contracts
    found = (live.get(key) for key in dict.fromkeys(provider.timers.overdue(now)))
    return [
        contract
        for contract in found
        if contract is not None
        and pool_id in (None, contract.pool_id)
        and contract.state is ContractState.RESERVED
        and contracts.pass_time(contract, now) is not None
    ]
