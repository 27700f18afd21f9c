"""`rear ledger`: verifies a service's ledger, tells what its scrub found, and accepts what was lost of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from rear.command.offline import state_option, with_store
from rear.command.output import progress_bar, write_json
from rear.command.settings import common_options, settings
from rear.ledger.chain import GENESIS
from rear.ledger.commit import Identity
from rear.ledger.errors import LedgerError
from rear.ledger.following import see_that_nobody_writes
from rear.ledger.mending import Accepted
from rear.ledger.mending import accept_loss as accept
from rear.ledger.reader import read_proved
from rear.ledger.scrub_record import ScrubRecord, read_scrub
from rear.ledger.sources import RandomIds, SystemClock
from rear.ledger.store import StateDirectory, Store


@click.group()
def ledger() -> None:
    """Verify a service's ledger; ask what its scrub found; accept what was lost of it."""


@ledger.command()
@state_option
@common_options
def verify(state: Path) -> None:
    """Read every event and prove its hash, and hold the end against the anchor. The service must be stopped."""

    async def work(store: Store) -> tuple[int, str]:
        sequence, hash, end = 0, GENESIS, await store.stream.tip()
        with progress_bar("verifying", end) as done:
            async for page in read_proved(store.stream, after=0, hash=GENESIS):
                if page:
                    sequence, hash = page[-1].sequence, page[-1].hash
                    done(sequence)
        return sequence, hash

    sequence, hash = with_store(state, work)
    if settings().json:
        write_json({"sequence": sequence, "hash": hash})
    else:
        click.echo(f"{sequence} events hash, up to {hash}; the anchor agrees")


@ledger.command("scrub-status")
@state_option
@common_options
def scrub_status(state: Path) -> None:
    """Say how far the background scrub is and what it found, also while the service runs. Exit code 1 for damage."""
    directory = StateDirectory(state)
    try:
        directory.identity()
    except LedgerError as error:
        raise click.ClickException(str(error)) from error
    path = directory.scrub
    record = read_scrub(path)
    if record is None:
        raise click.ClickException(f"{path} says nothing: the service has not scrubbed its ledger yet")
    if settings().json:
        write_json(
            {
                "sequence": record.sequence,
                "finished": record.finished.isoformat() if record.finished else None,
                "proved": record.proved,
                "damage": [{"first": one.first, "last": one.last, "flaw": one.flaw.value} for one in record.damage],
            }
        )
    else:
        for line in _scrubbed(record):
            click.echo(line)
    if record.damage:
        raise SystemExit(1)


def _scrubbed(record: ScrubRecord) -> Iterator[str]:
    if record.finished is None:
        yield "the ledger has not been read to its end yet"
    else:
        yield f"the ledger was read to its end, {record.proved}, on {record.finished:%Y-%m-%d %H:%M:%S} UTC"
    if record.sequence:
        yield f"a reading is under way, at {record.sequence}"
    for one in record.damage:
        yield f"damaged at {one}"
    if not record.damage:
        yield "no damage was found"


@ledger.command("accept-loss")
@state_option
@click.option("--reason", required=True, help="Why; it is written into the ledger.")
@click.confirmation_option(
    prompt="What was acknowledged to buyers after the ledger's end will be gone for good. Go on?"
)
@common_options
def accept_loss(state: Path, reason: str) -> None:
    """Go on with a ledger that its anchor says is shorter or different, and put that on record."""

    async def work(store: Store) -> Accepted:
        directory = StateDirectory(state)
        identity = Identity(directory.service, directory.identity())
        if directory.servers is not None:  # our lock keeps nobody out who has another directory
            await see_that_nobody_writes(store.connection, directory.service)
        return await accept(store.stream, store.anchor, identity, reason, clock=SystemClock(), ids=RandomIds())

    accepted = with_store(state, work, check=False)
    if settings().json:
        write_json({"anchored": accepted.anchored, "found": accepted.found})
    else:
        anchor = f"its anchor stood at {accepted.anchored}" if accepted.anchored else "it had no anchor"
        click.echo(f"the ledger goes on from {accepted.found}; {anchor}")
