"""`rear reserve`: hold a partition of a flavour, or play a recorded trace of requests."""

from __future__ import annotations

import shlex
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from rear.command import failures
from rear.command.amounts import show_money
from rear.command.contract_facts import write_contract
from rear.command.contracts import new_request_id
from rear.command.output import visible, write_json
from rear.command.parameters import (
    DURATION,
    MONEY,
    Parsed,
    partition_options,
    take_demand,
    take_window,
    window_options,
)
from rear.command.settings import DEFAULT_ENDPOINT, Settings, common_options, run, settings
from rear.command.times import show_duration
from rear.domain.demand import Demand
from rear.domain.window import AskedWindow

if TYPE_CHECKING:
    from rear.rpc.refused import Refused
    from rear.v1 import contract_service_pb2

ONLY_FOR_A_TRACE: Final = ("compress", "in_flight", "limit", "patience", "run_id", "record")
ALSO_FOR_A_TRACE: Final = ("from_file", "start")


def parse_factor(text: str) -> Fraction:
    """A positive factor, such as 100 or 2.5. Raises ValueError."""
    try:
        factor = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{text!r} is no number") from None
    if factor <= 0:
        raise ValueError(f"{text!r} is not above 0")
    return factor


@click.command()
@common_options
@click.argument("flavour_id", required=False)
@partition_options
@window_options
@click.option("--ttp", type=DURATION, help="How long it is held for a purchase: 10m.  [default: the provider's]")
@click.option("--confirm", is_flag=True, help="Agree at once, without a purchase.")
@click.option("--max-price", type=MONEY, help='The most that all of it may cost: "0.50 EUR".')
@click.option("--priority", type=int, default=0, help="Higher is more important.")
@click.option("--request-id", help="Makes a repeated command safe.  [default: a new one]")
@click.option("--validate-only", is_flag=True, help="Only say what would happen.")
@click.option(
    "--from",
    "from_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Play the requests of a trace (CSV) instead of one reservation.",
)
@click.option(
    "--compress",
    type=Parsed("factor", parse_factor),
    default="1",
    help="Trace: divide the times of arrival by this; lengths of windows stay.  [default: 1]",
)
@click.option(
    "--in-flight",
    type=click.IntRange(1, 1_024),
    default=1,
    show_default=True,
    help="Trace: requests at once. With more than one, neighbours compete for the same best flavours.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Trace: play this many requests only.")
@click.option(
    "--patience",
    type=DURATION,
    default="60s",
    show_default=True,
    help="Trace: how long a request waits for a provider that does not answer.",
)
@click.option("--run-id", help="Trace: go on with an earlier run, which has the effect of one.  [default: a new one]")
@click.option(
    "--record",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Trace: write the outcome of each request to this file, one JSON object a line.",
)
@click.pass_context
def reserve(context: click.Context, /, flavour_id: str | None, from_file: Path | None, **flags: Any) -> None:
    """Hold a partition of a flavour for a window.

    Where it does not fit, the provider's counter-offer is shown with the command that takes it (exit code 3).

    With --from FILE.csv --compress N, play the requests of a trace: for each, list the ten best flavours, and
    reserve on them in order until one says yes. Its windows begin at --start (default: 5 minutes from now).
    """
    given = {name for name in context.params if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
    if from_file is not None:
        _check_alone(given - {*ONLY_FOR_A_TRACE, *ALSO_FOR_A_TRACE}, "does not go with --from", context)
        from rear.command.trace import play

        raise click.exceptions.Exit(
            run(
                play(
                    settings(),
                    from_file,
                    start=flags["start"],
                    compress=flags["compress"],
                    in_flight=flags["in_flight"],
                    limit=flags["limit"],
                    patience=flags["patience"],
                    run_id=flags["run_id"],
                    record=flags["record"],
                )
            )
        )
    _check_alone(given & set(ONLY_FOR_A_TRACE), "needs --from", context)
    if flavour_id is None:
        raise click.UsageError("say which flavour: rear reserve FLAVOUR_ID --cpu 2 ...", context)
    demand, window = take_demand(flags), take_window(flags)
    raise click.exceptions.Exit(run(_reserve(settings(), flavour_id, demand, window, flags)))


def _check_alone(wrong: set[str], said: str, context: click.Context) -> None:
    for parameter in context.command.params:
        if parameter.name in wrong:
            raise click.UsageError(f"{_as_typed(parameter)} {said}", context)


def _as_typed(parameter: click.Parameter) -> str:
    return parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name


def reserve_request(
    flavour_id: str, demand: Demand, window: AskedWindow, flags: dict[str, Any]
) -> contract_service_pb2.ReserveFlavourRequest:
    """The request that the flags ask for."""
    from rear.v1 import contract_service_pb2
    from rear.wire.values import write_asked_window, write_duration, write_money, write_partition

    request = contract_service_pb2.ReserveFlavourRequest(
        flavour_id=flavour_id,
        confirm=flags["confirm"],
        priority=flags["priority"],
        request_id=flags["request_id"] or new_request_id(),
        validate_only=flags["validate_only"],
    )
    write_partition(request.partition, demand)
    if window != AskedWindow():
        write_asked_window(request.window, window)
    if flags["ttp"] is not None:
        write_duration(request.ttp, flags["ttp"])
    if flags["max_price"] is not None:
        write_money(request.max_price, flags["max_price"])
    return request


async def _reserve(
    chosen: Settings, flavour_id: str, demand: Demand, window: AskedWindow, flags: dict[str, Any]
) -> int:
    from rear.rpc.refused import Refused

    request = reserve_request(flavour_id, demand, window, flags)
    async with chosen.client() as client:
        try:
            response = await client.reserve_flavour(request)
        except Refused as refused:
            return _refused(refused, chosen, demand, window, flags)
    if chosen.json:
        write_json(response)
        return 0
    if request.validate_only:
        click.echo("This would be granted; nothing was changed.")
    write_contract(response.contract, response.ttp_remaining if response.HasField("ttp_remaining") else None)
    if response.HasField("ttp_remaining") and not request.validate_only:
        command = ["rear", "purchase", response.contract.contract_id, *_endpoint_flags(chosen)]
        click.echo(f"To buy it: {shlex.join(command)}")
    return 0


def _refused(refused: Refused, chosen: Settings, demand: Demand, window: AskedWindow, flags: dict[str, Any]) -> int:
    """Report a refusal with what may be taken instead, and give the exit code."""
    from rear.command.counter_offers import explain, offers

    if refused.counter_offer is None:
        return failures.report(refused, chosen.endpoint, json=chosen.json)
    found = offers(refused.counter_offer, demand, window, [*_kept(flags), *_endpoint_flags(chosen)])
    commands = {"take": [offer.command for offer in found]}
    code = failures.report(refused, chosen.endpoint, json=chosen.json, more=commands)
    if not chosen.json:
        for line in explain(refused.counter_offer, found):
            click.echo(visible(line))
    return code


def _kept(flags: dict[str, Any]) -> list[str]:
    """The flags that taking a counter-offer keeps."""
    kept = []
    if flags["ttp"] is not None:
        kept += ["--ttp", show_duration(flags["ttp"])]
    if flags["confirm"]:
        kept.append("--confirm")
    if flags["max_price"] is not None:
        kept += ["--max-price", show_money(flags["max_price"])]
    if flags["priority"]:
        kept += ["--priority", str(flags["priority"])]
    return kept


def _endpoint_flags(chosen: Settings) -> list[str]:
    return [] if chosen.endpoint == DEFAULT_ENDPOINT else ["--endpoint", chosen.endpoint]
