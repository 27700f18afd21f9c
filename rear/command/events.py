"""`rear events`: a service's ledger, one event a line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from rear.command import request_events
from rear.command.amounts import in_order, show_demand, show_quantity
from rear.command.output import as_json, visible, write_json_line
from rear.command.settings import DEFAULT_PATIENCE, FOLLOWING_PATIENCE, Settings, common_options, run, settings
from rear.command.times import show_moment

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from rear.event.v1 import allocation_pb2, contract_pb2, envelope_pb2, pool_pb2, purchase_pb2, service_pb2
    from rear.v1 import audit_service_pb2, quantities_pb2, window_pb2


@click.command()
@common_options
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="Begin with the last events.")
@click.option("--all", "every", is_flag=True, help="Begin with the first event.")
@click.option("--after", default="", metavar="POSITION", help="Begin after this position.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what is yet to come.")
@click.option("--limit", type=click.IntRange(min=1), help="End after this many events.")
@click.option(
    "--type",
    "aggregate_type",
    default="",
    metavar="TYPE",
    help="Only events of this type of aggregate: pool, contract, allocation, purchase, request, service.",
)
@click.option("--id", "aggregate_id", default="", metavar="ID", help="Only events of this aggregate; needs --type.")
@click.pass_context
def events(
    context: click.Context,
    last: int,
    every: bool,
    after: str,
    follow: bool,
    limit: int | None,
    aggregate_type: str,
    aggregate_id: str,
) -> None:
    """Read a service's ledger: the last events, or those after a position."""
    from rear.v1 import audit_service_pb2

    last_given = context.get_parameter_source("last") is not ParameterSource.DEFAULT
    if sum((every, bool(after), last_given)) > 1:
        raise click.UsageError("give only one of --last, --all and --after", context)
    if aggregate_id and not aggregate_type:
        raise click.UsageError("--id needs --type", context)
    request = audit_service_pb2.ReadEventsRequest(
        after_position=after,
        aggregate_type=aggregate_type,
        aggregate_id=aggregate_id,
        follow=follow,
        limit=limit or 0,
        last=0 if every or after else last,
    )
    run(_read(settings(), request))


async def _read(chosen: Settings, request: audit_service_pb2.ReadEventsRequest) -> None:
    position = ""
    patience = FOLLOWING_PATIENCE if request.follow else DEFAULT_PATIENCE
    async with chosen.client(patience=patience) as client:
        async for event in client.events(request):
            position = event.position
            if chosen.json:
                write_json_line(event_as_json(event))
            else:
                click.echo(visible(event_line(event)))
    if position and not chosen.json and sys.stdout.isatty():
        click.echo(f"To go on from here: rear events --after {position}", err=True)


def event_as_json(event: audit_service_pb2.RecordedEvent) -> dict[str, Any]:
    """The whole event: where it stands, its hash in hexadecimal, and the envelope decoded."""
    from rear.event.v1 import envelope_pb2

    return {
        "position": event.position,
        "sequence": str(event.sequence),
        "type": event.event_type,
        "subject": event.subject,
        "hash": event.hash.hex(),
        "event": as_json(envelope_pb2.Envelope.FromString(event.payload)),
    }


def event_line(event: audit_service_pb2.RecordedEvent) -> str:
    """One event for people: sequence, time, what happened to which aggregate, and what matters of it."""
    from rear.event.v1 import envelope_pb2
    from rear.wire.values import read_instant

    envelope = envelope_pb2.Envelope.FromString(event.payload)
    # rear.log.<service>.<aggregate type>.<aggregate id>
    about = event.subject.split(".", 4)[-1]
    moment = show_moment(read_instant(envelope.time))
    said = f"{event.sequence:>7}  {moment:<24}  {event.event_type:<19}  {about}"
    return f"{said}  {_details(envelope)}".rstrip()


def _details(envelope: envelope_pb2.Envelope) -> str:
    body = envelope.WhichOneof("body")
    if body is None:
        return "(a newer kind of event)"
    message: Message = getattr(envelope, body)
    summary = _SUMMARIES.get(body)
    return "" if summary is None else summary(message)


def _window(window: window_pb2.Window) -> str:
    from rear.wire.values import read_window

    times = read_window(window)
    return f"[{show_moment(times.start)}, {show_moment(times.end)})"


def _amounts(quantities: quantities_pb2.Quantities) -> str:
    from rear.wire.values import read_quantities

    amounts = read_quantities(quantities)
    return ", ".join(show_quantity(kind, amounts[kind]) for kind in in_order(amounts))


def _units(units: Any) -> str:
    return ", ".join(f"{share.name}:{share.millis}" for share in units)


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _moved(retired: str, offer: pool_pb2.Offer) -> str:
    """The change of flavour that an event of a pool carries."""
    return f"{retired or '-'} -> {offer.flavour_id or '-'}" if retired or offer.flavour_id else ""


def _pool_registered(body: pool_pb2.PoolRegistered) -> str:
    units = f"{len(body.units)} devices" if body.units else ""
    return _joined(body.offer.flavour_id, _amounts(body.capacity), units)


def _capacity_changed(body: pool_pb2.CapacityChanged) -> str:
    return _joined(_amounts(body.capacity), _moved(body.retired_flavour_id, body.offer))


def _pool_reserved(body: pool_pb2.PoolReserved) -> str:
    hold = body.hold
    return _joined(
        hold.hold_id,
        _amounts(hold.quantities),
        _units(hold.units),
        _window(hold.window),
        _moved(body.retired_flavour_id, body.offer),
    )


def _hold_released(body: pool_pb2.HoldReleased) -> str:
    return _joined(body.hold_id, _moved(body.retired_flavour_id, body.offer))


def _contract_reserved(body: contract_pb2.ContractReserved) -> str:
    from rear.v1 import contract_pb2 as contracts
    from rear.wire.values import read_instant, read_partition

    state = contracts.ContractState.Name(body.state).removeprefix("CONTRACT_STATE_")
    before = ""
    if body.HasField("purchase_before"):
        before = f"until {show_moment(read_instant(body.purchase_before))}"
    return _joined(
        state,
        before,
        body.flavour_id,
        show_demand(read_partition(body.partition)),
        _window(body.window),
        f"for {body.buyer_id}",
    )


def _contract_ended(body: contract_pb2.ContractCancelled | contract_pb2.ContractRevoked) -> str:
    return _joined(f"by {body.actor}", body.reason)


def _reason(body: Any) -> str:
    return str(body.reason)


def _allocation_created(body: allocation_pb2.AllocationCreated) -> str:
    return _joined(body.contract_id, _amounts(body.quantities), _units(body.units), _window(body.window))


def _writer_changed(body: service_pb2.WriterChanged) -> str:
    return _joined(f"epoch {body.epoch}", body.endpoint)


def _loss_accepted(body: service_pb2.LossAccepted) -> str:
    return f"anchored at {body.anchored_sequence}, found {body.found_sequence}: {body.reason}"


def _link_requested(body: purchase_pb2.LinkRequested) -> str:
    from rear.event.v1 import purchase_pb2 as purchases
    from rear.wire.values import read_partition

    verb = purchases.LinkVerb.Name(body.verb).removeprefix("LINK_VERB_")
    if not body.HasField("order"):
        return _joined(verb, body.reason)
    order = body.order
    return _joined(verb, order.flavour_id, show_demand(read_partition(order.partition)), f"of {order.provider_id}")


def _link_observed(body: purchase_pb2.LinkObserved) -> str:
    from rear.v1 import contract_pb2 as contracts

    state = contracts.ContractState.Name(body.contract.state).removeprefix("CONTRACT_STATE_")
    return _joined(state, f"revision {body.contract.revision}", body.contract.ending.reason)


def _link_undone(body: purchase_pb2.LinkUndone) -> str:
    return _joined(body.reason, body.message)


_SUMMARIES: Final[Mapping[str, Callable[[Any], str]]] = {
    "pool_registered": _pool_registered,
    "pool_terms_changed": lambda body: _moved(body.retired_flavour_id, body.offer),
    "capacity_changed": _capacity_changed,
    "pool_reserved": _pool_reserved,
    "hold_released": _hold_released,
    "pool_retired": lambda body: _joined(body.retired_flavour_id, body.reason),
    "contract_reserved": _contract_reserved,
    "contract_cancelled": _contract_ended,
    "contract_expired": _reason,
    "contract_completed": _reason,
    "contract_revoked": _contract_ended,
    "allocation_created": _allocation_created,
    "allocation_released": _reason,
    "allocation_peered": lambda body: _joined(body.peer_id, body.fabric, body.endpoint),
    "allocation_failed": _reason,
    "ledger_opened": lambda body: str(body.log_id),
    "writer_changed": _writer_changed,
    "loss_accepted": _loss_accepted,
    "link_requested": _link_requested,
    "link_observed": _link_observed,
    "link_undone": _link_undone,
    **request_events.SUMMARIES,
}
"""What matters of each body; one that is not here has nothing more to say than its name."""
