"""How contracts look to people."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

import click

from rear.command.amounts import show_demand, show_money
from rear.command.output import write_facts, write_table
from rear.command.times import show_duration, show_moment, show_roughly
from rear.domain.units import MILLIS_PER_UNIT
from rear.domain.window import MINUTE, SECOND

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration

    from rear.v1 import contract_pb2, quantities_pb2


def write_contracts(listed: Iterable[contract_pb2.Contract]) -> None:
    """Contracts for people, one a row."""
    from rear.wire.values import read_money, read_partition, read_window

    rows = []
    for contract in listed:
        window = read_window(contract.window)
        rows.append(
            (
                contract.contract_id,
                state_of(contract).lower(),
                contract.pool_id,
                show_demand(read_partition(contract.partition)),
                show_moment(window.start),
                show_moment(window.end),
                show_money(read_money(contract.price)) if contract.HasField("price") else "",
            )
        )
    if rows:
        write_table(("contract", "state", "pool", "partition", "start", "end", "price"), rows)
    else:
        click.echo("No contract was made with this service. What it buys itself is in `rear intent list`.")


def state_of(contract: contract_pb2.Contract) -> str:
    """The name of its state, such as CONFIRMED."""
    from rear.v1 import contract_pb2

    try:
        return contract_pb2.ContractState.Name(contract.state).removeprefix("CONTRACT_STATE_")
    except ValueError:
        return str(contract.state)


def contract_line(contract: contract_pb2.Contract) -> str:
    """A contract as it changed, for people: when, to what, which one, and what it is about."""
    from rear.wire.values import read_instant, read_partition, read_window

    window = read_window(contract.window)
    parts = (
        show_demand(read_partition(contract.partition)),
        f"[{show_moment(window.start)}, {show_moment(window.end)})",
        _ended(contract),
    )
    changed = show_moment(read_instant(contract.updated_at))
    about = "  ".join(part for part in parts if part)
    return f"{changed:<24}  {state_of(contract).lower():<9}  {contract.contract_id}  {contract.pool_id}  {about}"


def write_contract(contract: contract_pb2.Contract, ttp_remaining: Duration | None = None) -> None:
    """A contract for people."""
    write_facts(f"Contract {contract.contract_id or '(none)'}", _facts(contract, ttp_remaining))


def _facts(contract: contract_pb2.Contract, ttp_remaining: Duration | None) -> list[tuple[str, str]]:
    from rear.wire.values import read_duration, read_instant, read_money, read_partition, read_window

    window = read_window(contract.window)
    before = ""
    if contract.HasField("purchase_before"):
        before = show_moment(read_instant(contract.purchase_before))
        if ttp_remaining is not None:
            before += f" ({show_roughly(read_duration(ttp_remaining))} left)"
    return [
        ("state", f"{state_of(contract)} (revision {contract.revision})"),
        ("ended", _ended(contract)),
        ("purchase before", before),
        ("partition", show_demand(read_partition(contract.partition))),
        ("devices", _devices(contract.assigned_units)),
        ("start", show_moment(window.start)),
        ("end", f"{show_moment(window.end)} ({_length(window.duration)})"),
        ("price", show_money(read_money(contract.price)) if contract.HasField("price") else ""),
        ("flavour", contract.flavour_id),
        ("pool", contract.pool_id),
        ("provider", contract.provider_id),
        ("buyer", contract.buyer_id),
        ("allocation", contract.allocation_id),
        ("chain", contract.chain_id),
        ("group", contract.group.group_id),
        ("reserved", show_moment(read_instant(contract.created_at))),
        ("changed", show_moment(read_instant(contract.updated_at))),
    ]


def _ended(contract: contract_pb2.Contract) -> str:
    return " - ".join(part for part in (contract.ending.actor, contract.ending.reason) if part)


def _length(duration: int) -> str:
    nearest = (duration + SECOND // 2) // SECOND * SECOND if duration >= MINUTE else duration
    return show_duration(nearest) if nearest == duration else f"about {show_duration(nearest)}"


def _devices(shares: Iterable[quantities_pb2.UnitShare]) -> str:
    listed = list(shares)
    said = [
        f"{share.unit_class} {share.name}"
        + ("" if share.millis == MILLIS_PER_UNIT else f" {share.millis}/{MILLIS_PER_UNIT}")
        for share in islice(listed, 16)
    ]
    if len(listed) > len(said):
        said.append(f"and {len(listed) - len(said)} more")
    return ", ".join(said)
