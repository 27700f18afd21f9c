"""`rear pki`: a certificate authority for development and tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from rear.command.output import write_facts, write_json
from rear.command.settings import settings

if TYPE_CHECKING:
    from rear.command.authority import Summary

Result = TypeVar("Result")

FOR_DEVELOPMENT: Final = (
    "This authority is for development: its key lies in a file without a password. "
    "In production, let an authority that you run as one (such as SPIRE) issue the same names."
)

DIRECTORY: Final = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("pki"),
    show_default=True,
    help="The authority's folder.",
)


@click.group()
def pki() -> None:
    """Certificates for development: an authority, and what it issues.

    It never overwrites anything.
    """


@pki.command()
@DIRECTORY
@click.option("--domain", default="local.test", show_default=True, help="The domain whose names it may vouch for.")
@click.option("--days", type=click.IntRange(1, 3_650), default=365, show_default=True, help="How long it is valid.")
def init(directory: Path, domain: str, days: int) -> None:
    """Make an authority: a key, and a certificate that is good for one domain's identities only."""
    from rear.command import authority

    made = _told(lambda: authority.init(directory, domain, days))
    click.echo(f"{made.certificate} vouches for spiffe://{domain}/*")
    click.echo(FOR_DEVELOPMENT, err=True)


@pki.command()
@DIRECTORY
@click.argument("identity", metavar="SPIFFE_ID")
@click.option("--dns", multiple=True, metavar="NAME", help="A name by which the service is dialled. Repeatable.")
@click.option("--ip", multiple=True, metavar="ADDRESS", help="An address by which it is dialled. Repeatable.")
@click.option("--days", type=click.IntRange(1, 825), default=30, show_default=True, help="How long it is valid.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for cert.pem and key.pem.  [default: ROLE/SERVICE in the authority's folder]",
)
def issue(
    directory: Path, identity: str, dns: tuple[str, ...], ip: tuple[str, ...], days: int, out: Path | None
) -> None:
    """Issue a certificate and its key, such as for spiffe://local.test/buyer/alice.

    A service needs --dns or --ip as well: clients dial it by one of these.
    """
    from rear.command import authority

    made = _told(lambda: authority.issue(directory, identity, dns=dns, ip=ip, days=days, out=out))
    click.echo(f"{made.certificate} {made.key}")


@pki.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def show(file: Path) -> None:
    """Show the certificates in a file."""
    from rear.command import authority

    found = _told(lambda: authority.summaries(file))
    if settings().json:
        write_json({"certificates": [_as_json(summary) for summary in found]})
        return
    for summary in found:
        write_facts(" ".join(summary.identities) or summary.subject or "(no name)", _facts(summary))


def _facts(summary: Summary) -> list[tuple[str, str]]:
    return [
        ("vouches for", f"spiffe://{summary.vouches_for}/*" if summary.vouches_for else ""),
        ("hosts", ", ".join(summary.hosts)),
        ("issuer", summary.issuer),
        ("valid from", summary.not_before.isoformat().replace("+00:00", "Z")),
        ("valid until", summary.not_after.isoformat().replace("+00:00", "Z")),
        ("key", summary.key),
        ("SHA-256", summary.fingerprint),
    ]


def _as_json(summary: Summary) -> dict[str, object]:
    return {
        "identities": summary.identities,
        "subject": summary.subject,
        "issuer": summary.issuer,
        "hosts": summary.hosts,
        "notBefore": summary.not_before.isoformat(),
        "notAfter": summary.not_after.isoformat(),
        "vouchesFor": summary.vouches_for,
        "key": summary.key,
        "sha256": summary.fingerprint,
    }


def _told(work: Callable[[], Result]) -> Result:
    from rear.command.authority import CannotIssue

    try:
        return work()
    except CannotIssue as error:
        raise click.ClickException(str(error)) from error
