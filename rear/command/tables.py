"""`rear tables`: the tables of one service, looked at beside it and rebuilt while it is stopped."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import click

from rear.command.offline import state_option, with_store
from rear.command.output import progress_bar, write_json, write_table
from rear.command.settings import common_options, settings
from rear.command.times import show_moment
from rear.domain.window import Instant
from rear.ledger.offers import OffersStream
from rear.ledger.store import StateDirectory, Store
from rear.projections.candidates import TABLE as CANDIDATES
from rear.projections.candidates import CandidatesTable, candidates_digest, refill
from rear.projections.rebuild import rebuild
from rear.projections.schema import TABLES
from rear.projections.tables import Tables, TablesError, counts_of, digest_of, read_only


@click.group()
def tables() -> None:
    """Look at a service's tables, digest and rebuild them."""


@tables.command()
@click.option("--candidates", is_flag=True, help="Of the table of peering candidates, which follows another stream.")
@state_option
@common_options
def digest(candidates: bool, state: Path) -> None:
    """SHA-256 over every row. The service may be running; equal ledgers give equal digests."""
    with _looking_at(state, CANDIDATES if candidates else None) as connection:
        sequence, value = (candidates_digest if candidates else digest_of)(connection)
    if settings().json:
        write_json({"digest": value, "sequence": sequence})
    else:
        click.echo(f"{value}  at sequence {sequence}")


@tables.command("rebuild")
@state_option
@common_options
def rebuild_command(state: Path) -> None:
    """Empty the tables and fill them from the ledger, and that of candidates from its stream. The service must be
    stopped.
    """

    async def work(store: Store) -> tuple[str, str, int, int]:
        kept = Tables(StateDirectory(state).tables)
        try:
            before, end = _digest(kept), await store.stream.tip()
            with progress_bar("rebuilding", end) as done:
                tip = await rebuild(store.stream, kept, done)
            return before, kept.digest(), tip.sequence, await _refill(store, StateDirectory(state))
        finally:
            kept.close()

    before, after, sequence, candidates = with_store(state, work)
    if settings().json:
        write_json({"before": before, "after": after, "sequence": sequence, "candidates": candidates})
        return
    click.echo(f"{after}  at sequence {sequence}")
    click.echo("the same as before" if before == after else f"before it was {before}")
    click.echo(f"{candidates or 'no'} peering candidate{'s' if candidates != 1 else ''}")


async def _refill(store: Store, directory: StateDirectory) -> int:
    """Fills the table of peering candidates; how many there are."""
    stream = OffersStream(store.connection, directory.service, replicas=store.server.replicas)
    table = CandidatesTable(directory.candidates)
    try:
        await refill(stream, table)
        return sum(1 for _ in table.rows())
    finally:
        table.close()


@tables.command()
@click.argument("table", metavar="[TABLE]", type=click.Choice((*TABLES, CANDIDATES)), required=False)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Rows at the most.")
@state_option
@common_options
def show(table: str | None, limit: int, state: Path) -> None:
    """Show a table's rows, or, without a name, how many rows each has. The service may be running."""
    with _looking_at(state, table) as connection:
        if table is None:
            _write_counts(counts_of(connection) | {CANDIDATES: _candidates(state)})
        else:
            _write_rows(connection, table, limit)


def _candidates(state: Path) -> int:
    if not StateDirectory(state).candidates.exists():
        return 0
    with _looking_at(state, CANDIDATES) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {CANDIDATES}").fetchone()[0])


def _write_counts(counted: Mapping[str, int]) -> None:
    if settings().json:
        write_json(counted)
    else:
        write_table(("table", "rows"), [(name, str(count)) for name, count in counted.items()])


def _write_rows(connection: sqlite3.Connection, table: str, limit: int) -> None:
    cursor = connection.execute(f"SELECT * FROM {table} ORDER BY {TABLES.get(table, 'sequence')} LIMIT ?", (limit,))
    columns = [column[0] for column in cursor.description if not column[0].endswith("event")]
    cursor.row_factory = sqlite3.Row
    rows = [{column: row[column] for column in columns} for row in cursor]
    if settings().json:
        write_json({"rows": rows})
    else:
        write_table(columns, [tuple(_shown(column, value) for column, value in row.items()) for row in rows])


def _shown(column: str, value: object) -> str:
    if value is None:
        return ""
    return show_moment(Instant(value)) if column.endswith("_at") and isinstance(value, int) else str(value)


@contextmanager
def _looking_at(state: Path, table: str | None = None) -> Iterator[sqlite3.Connection]:
    """The tables, or the file of the one that is named, to be read; what goes wrong with them says what to do."""
    directory = StateDirectory(state)
    path = directory.candidates if table == CANDIDATES else directory.tables
    try:
        with closing(read_only(path)) as connection:
            yield connection
    except TablesError as error:
        raise click.ClickException(str(error)) from error
    except sqlite3.DatabaseError as error:
        raise click.ClickException(
            f"{path} is damaged ({error}); stop the service and use `rear tables rebuild`"
        ) from error


def _digest(kept: Tables) -> str:
    """What there is to compare with; nothing where the tables are too damaged to be read."""
    try:
        return kept.digest()
    except sqlite3.DatabaseError:
        return "damaged"
