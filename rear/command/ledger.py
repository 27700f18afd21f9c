"""`rear ledger`: verifies the ledger of a stopped service, and accepts what was lost of it."""

from __future__ import annotations

from pathlib import Path

import click

from rear.command.offline import state_option, with_store
from rear.command.output import progress_bar, write_json
from rear.command.settings import common_options, settings
from rear.ledger.chain import GENESIS
from rear.ledger.commit import Identity
from rear.ledger.mending import Accepted
from rear.ledger.mending import accept_loss as accept
from rear.ledger.reader import read_proved
from rear.ledger.sources import RandomIds, SystemClock
from rear.ledger.store import StateDirectory, Store


@click.group()
def ledger() -> None:
    """Verify a service's ledger; accept what was lost of it."""


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
        return await accept(store.stream, store.anchor, identity, reason, clock=SystemClock(), ids=RandomIds())

    accepted = with_store(state, work, check=False)
    if settings().json:
        write_json({"anchored": accepted.anchored, "found": accepted.found})
    else:
        anchor = f"its anchor stood at {accepted.anchored}" if accepted.anchored else "it had no anchor"
        click.echo(f"the ledger goes on from {accepted.found}; {anchor}")
