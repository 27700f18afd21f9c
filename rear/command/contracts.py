"""`rear purchase`, `rear cancel` and `rear contracts`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import click

from rear.command.amounts import show_demand, show_money
from rear.command.output import write_facts, write_json, write_json_line, write_table
from rear.command.settings import Settings, common_options, run, settings
from rear.command.times import show_duration, show_moment, show_roughly
from rear.domain.units import MILLIS_PER_UNIT
from rear.domain.window import MINUTE, SECOND

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration

    from rear.v1 import contract_pb2, contract_service_pb2, quantities_pb2

STATES: Final = ("reserved", "confirmed", "active", "expired", "cancelled", "revoked", "completed")


def new_request_id() -> str:
    """A request id for a new attempt at something."""
    return str(uuid4())


@click.command()
@common_options
@click.argument("contract_id")
@click.option("--revision", type=click.IntRange(min=1), help="The revision as you know it.  [default: read it first]")
@click.option("--request-id", help="Makes a repeated command safe.  [default: a new one]")
@click.option("--validate-only", is_flag=True, help="Only say what would happen.")
def purchase(contract_id: str, revision: int | None, request_id: str | None, validate_only: bool) -> None:
    """Buy what was reserved."""
    from rear.v1 import contract_service_pb2

    request = contract_service_pb2.PurchaseFlavourRequest(
        contract_id=contract_id,
        revision=revision,
        request_id=request_id or new_request_id(),
        validate_only=validate_only,
    )
    run(_purchase(settings(), request))


async def _purchase(chosen: Settings, request: contract_service_pb2.PurchaseFlavourRequest) -> None:
    from rear.v1 import contract_service_pb2

    async with chosen.client() as client:
        if not request.HasField("revision"):
            known = await client.get_contract(contract_service_pb2.GetContractRequest(contract_id=request.contract_id))
            request.revision = known.contract.revision
        response = await client.purchase_flavour(request)
    if chosen.json:
        write_json(response)
    else:
        write_contract(response.contract)


@click.command()
@common_options
@click.argument("contract_id")
@click.option("--reason", default="", help="Why, for people.")
@click.option("--revision", type=click.IntRange(min=1), help="Only if it still has this revision.")
@click.option("--request-id", help="Makes a repeated command safe.  [default: a new one]")
@click.option("--validate-only", is_flag=True, help="Only say what would happen.")
def cancel(contract_id: str, reason: str, revision: int | None, request_id: str | None, validate_only: bool) -> None:
    """End a contract. One that has ended already stays as it ended."""
    from rear.v1 import contract_service_pb2

    request = contract_service_pb2.CancelContractRequest(
        contract_id=contract_id,
        revision=revision,
        reason=reason,
        request_id=request_id or new_request_id(),
        validate_only=validate_only,
    )
    run(_cancel(settings(), request))


async def _cancel(chosen: Settings, request: contract_service_pb2.CancelContractRequest) -> None:
    async with chosen.client() as client:
        response = await client.cancel_contract(request)
    if chosen.json:
        write_json(response)
    else:
        write_contract(response.contract)


@click.group()
@common_options
def contracts() -> None:
    """The contracts that you hold with a provider."""


@contracts.command("show")
@common_options
@click.argument("contract_id")
def show_contract(contract_id: str) -> None:
    """Show one contract."""
    from rear.v1 import contract_service_pb2

    run(_show(settings(), contract_service_pb2.GetContractRequest(contract_id=contract_id)))


async def _show(chosen: Settings, request: contract_service_pb2.GetContractRequest) -> None:
    async with chosen.client() as client:
        response = await client.get_contract(request)
    if chosen.json:
        write_json(response)
    else:
        left = response.ttp_remaining if response.HasField("ttp_remaining") else None
        write_contract(response.contract, left)


@contracts.command("list")
@common_options
@click.option(
    "--state",
    "states",
    type=click.Choice(STATES, case_sensitive=False),
    multiple=True,
    help="State. Repeatable: any of them.",
)
@click.option("--pool", default="", help="Only contracts on this pool.")
@click.option("--page-size", type=click.IntRange(1, 1_000), default=100, show_default=True, help="Contracts in a page.")
@click.option("--page-token", default="", help="Go on where a page ended.")
@click.option("--all", "every", is_flag=True, help="All pages; with --json one contract a line.")
def list_contracts(states: tuple[str, ...], pool: str, page_size: int, page_token: str, every: bool) -> None:
    """List your contracts, oldest first."""
    from rear.v1 import contract_pb2, contract_service_pb2

    request = contract_service_pb2.ListContractsRequest(
        page_size=page_size,
        page_token=page_token,
        states=[contract_pb2.ContractState.Value(f"CONTRACT_STATE_{state.upper()}") for state in states],
        pool_id=pool,
    )
    run(_list_all(settings(), request) if every else _list_page(settings(), request))


async def _list_page(chosen: Settings, request: contract_service_pb2.ListContractsRequest) -> None:
    async with chosen.client() as client:
        response = await client.list_contracts(request)
    if chosen.json:
        write_json(response)
        return
    _write_contracts(response.contracts)
    if response.next_page_token:
        click.echo(f"There are more: --page-token {response.next_page_token}, or --all.", err=True)


async def _list_all(chosen: Settings, request: contract_service_pb2.ListContractsRequest) -> None:
    found: list[contract_pb2.Contract] = []
    async with chosen.client() as client:
        async for contract in client.contracts(request):
            if chosen.json:
                write_json_line(contract)
            else:
                found.append(contract)
    if not chosen.json:
        _write_contracts(found)


def _write_contracts(listed: Iterable[contract_pb2.Contract]) -> None:
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
        click.echo("No contract.")


def state_of(contract: contract_pb2.Contract) -> str:
    """The name of its state, such as CONFIRMED."""
    from rear.v1 import contract_pb2

    try:
        return contract_pb2.ContractState.Name(contract.state).removeprefix("CONTRACT_STATE_")
    except ValueError:
        return str(contract.state)


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
    ending = contract.ending
    return [
        ("state", f"{state_of(contract)} (revision {contract.revision})"),
        ("ended", " - ".join(part for part in (ending.actor, ending.reason) if part)),
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
