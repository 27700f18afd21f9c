"""`make bench`: measures a node and prints what was found."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
import grpc
import structlog
import uvloop

from benchmarks import hot_pool, intents, ledgers, listing, reserving, takeover
from benchmarks.figures import Figure, as_json, report
from benchmarks.plan import FULL, QUICK, Plan

Measure = Callable[[Plan, Path], Awaitable[list[Figure]]]

SECTIONS: Final[Mapping[str, tuple[str, Measure]]] = {
    "reserve": ("Reserve, spread over all pools", reserving.measure),
    "hot": ("Reserve, one hot pool", hot_pool.measure),
    "list": ("List with a selector", listing.measure),
    "ledger": ("A ledger of some size", ledgers.measure),
    "intent": ("From an intent to active resources", intents.measure),
    "takeover": ("A standby takes over", takeover.measure),
}


@click.command()
@click.option("--only", type=click.Choice(list(SECTIONS)), multiple=True, help="Only this section; repeatable.")
@click.option("--pairs", type=click.IntRange(1), help="Pairs of rounds.  [default: 5, with --quick 1]")
@click.option(
    "--ledger",
    type=click.IntRange(1),
    help="Live contracts in the ledger section, with 2.5 ended ones for each.  [default: 100000]",
)
@click.option("--quick", is_flag=True, help="Small numbers: shows that everything runs, and measures nothing.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write figures here.")
def main(only: Sequence[str], pairs: int | None, ledger: int | None, quick: bool, json_path: Path | None) -> None:
    """Measure a node with default settings, its client and a bare echo, in alternated pairs."""
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # servers are spawned, and gRPC would warn of each
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(open(os.devnull, "w")))  # noqa: SIM115
    plan = QUICK if quick else FULL
    plan = replace(
        plan, pairs=pairs or plan.pairs, live=ledger or plan.live, ended=ledger * 5 // 2 if ledger else plan.ended
    )
    click.echo(
        f"Python {platform.python_version()}, grpcio {grpc.__version__}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}; {plan.pairs} alternated pairs, medians\n"
    )
    found = uvloop.run(_measure(only or tuple(SECTIONS), plan))
    if json_path is not None:
        json_path.write_text(as_json(found))


async def _measure(names: Sequence[str], plan: Plan) -> dict[str, list[Figure]]:
    found = {}
    for name in names:
        title, measure = SECTIONS[name]
        with tempfile.TemporaryDirectory(prefix="rear-bench-") as directory:
            found[name] = await measure(plan, Path(directory))
        click.echo(report(title, found[name]))
    return found


if __name__ == "__main__":
    main()
