"""`rear purchase`, `rear cancel` and `rear contracts`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import uuid4

import click

from rear.command.contract_facts import contract_line, write_contract, write_contracts
from rear.command.output import visible, write_json, write_json_line
from rear.command.settings import FOLLOWING_PATIENCE, Settings, common_options, run, settings

if TYPE_CHECKING:
    from rear.v1 import contract_pb2, contract_service_pb2

    Changed = (
        contract_service_pb2.PurchaseFlavourResponse
        | contract_service_pb2.CancelContractResponse
        | contract_service_pb2.RevokeContractResponse
    )

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
    _show_answer(chosen, response)


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
    _show_answer(chosen, response)


def _show_answer(chosen: Settings, response: Changed) -> None:
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


@contracts.command("revoke")
@common_options
@click.argument("contract_id")
@click.option("--reason", required=True, help="Why, for the buyer.")
@click.option("--revision", type=click.IntRange(min=1), help="Only if it still has this revision.")
@click.option("--request-id", help="Makes a repeated command safe.  [default: a new one]")
@click.option("--validate-only", is_flag=True, help="Only say what would happen.")
def revoke_contract(
    contract_id: str, reason: str, revision: int | None, request_id: str | None, validate_only: bool
) -> None:
    """End a contract for its seller, who can no longer keep it. One that has ended already stays as it ended."""
    from rear.v1 import contract_service_pb2

    request = contract_service_pb2.RevokeContractRequest(
        contract_id=contract_id,
        revision=revision,
        reason=reason,
        request_id=request_id or new_request_id(),
        validate_only=validate_only,
    )
    run(_revoke(settings(), request))


async def _revoke(chosen: Settings, request: contract_service_pb2.RevokeContractRequest) -> None:
    async with chosen.client() as client:
        response = await client.revoke_contract(request)
    _show_answer(chosen, response)


@contracts.command("watch")
@common_options
@click.option("--after", default="", metavar="POSITION", help="Go on after this position.  [default: what lives now]")
@click.option("--id", "contract_ids", multiple=True, metavar="ID", help="Only this contract. Repeatable: any of them.")
@click.option("--all-buyers", is_flag=True, help="Everybody's contracts, for administrators.")
def watch_contracts(after: str, contract_ids: tuple[str, ...], all_buyers: bool) -> None:
    """Follow your contracts: what lives, then what changes."""
    from rear.v1 import contract_service_pb2

    request = contract_service_pb2.WatchContractsRequest(
        after_position=after, contract_ids=contract_ids, all_buyers=all_buyers
    )
    run(_watch(settings(), request))


async def _watch(chosen: Settings, request: contract_service_pb2.WatchContractsRequest) -> None:
    from rear.v1 import watch_pb2

    async with chosen.client(patience=FOLLOWING_PATIENCE) as client:
        async for message in client.watch_contracts(request):
            if message.kind == watch_pb2.WATCH_KIND_KEEP_ALIVE:
                continue
            if chosen.json:
                write_json_line(message)
                continue
            if message.kind == watch_pb2.WATCH_KIND_RESET:
                click.echo("What changed meanwhile can no longer be told; all that lives follows.", err=True)
            for contract in message.contracts:
                click.echo(visible(contract_line(contract)))


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
    write_contracts(response.contracts)
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
        write_contracts(found)
