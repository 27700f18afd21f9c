"""`rear intent`: what an application owner wants to have running, handed in and followed (workflow step 1)."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from rear.command import failures
from rear.command.contracts import new_request_id
from rear.command.output import visible, write_json, write_json_line, write_table
from rear.command.settings import DEFAULT_ENDPOINT, Settings, common_options, run, settings
from rear.command.times import show_moment
from rear.documents import DocumentError, decoded, read_text

if TYPE_CHECKING:
    from rear.rpc.intents_client import IntentsClient
    from rear.rpc.refused import Refused
    from rear.v1 import intent_service_pb2, service_request_pb2

LARGEST_DOCUMENT: Final = 128 * 1024
STDIN: Final = "-"

PATIENCE: Final = 30.0
"""Seconds that a node may be away while it is followed: one that is started again goes on where it was."""
STATES: Final = ("in_progress", "ready", "failed", "cancelled", "completed")


@click.group()
@common_options
def intent() -> None:
    """Hand in what you want to have running, and follow it.

    An intent is a YAML document; `rear intent schema` prints its form, nodes/samples/intent.yaml explains it.
    """


@intent.command("submit")
@common_options
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--request-id", help="Makes a repeated command safe.  [default: a new one]")
@click.option("--wait", is_flag=True, help="Tell each step until every component is active, or none will be.")
@click.option("--validate-only", is_flag=True, help="Only say whether it would be taken.")
def submit(file: str, request_id: str | None, wait: bool, validate_only: bool) -> None:
    """Hand in the intent in FILE, or from stdin with `-`."""
    from rear.v1 import intent_service_pb2

    if wait and validate_only:
        raise click.UsageError("--wait does not go with --validate-only: nothing would be begun")
    request = intent_service_pb2.SubmitIntentRequest(
        document=read_document(file), request_id=request_id or new_request_id(), validate_only=validate_only
    )
    raise click.exceptions.Exit(run(_submit(settings(), file, request, wait)))


def read_document(file: str) -> str:
    """The text of a document. One that is too long is not read to its end."""
    path = Path("stdin" if file == STDIN else file)
    try:
        if file == STDIN:
            return decoded(path, sys.stdin.buffer.read(LARGEST_DOCUMENT + 1), LARGEST_DOCUMENT)
        return read_text(path, LARGEST_DOCUMENT)
    except DocumentError as error:
        raise click.ClickException(str(error)) from error


async def _submit(chosen: Settings, file: str, request: intent_service_pb2.SubmitIntentRequest, wait: bool) -> int:
    from rear.rpc.refused import Refused
    from rear.v1 import service_request_pb2

    async with chosen.intents_client() as client:
        try:
            operation = await client.submit_intent(request)
        except Refused as refused:
            return _refused(refused, chosen, "stdin" if file == STDIN else file)
        begun = service_request_pb2.ServiceRequest()
        operation.metadata.Unpack(begun)
        key = begun.service_request_id
        if wait:
            if not chosen.json:
                click.echo(f"Service request {key} ({visible(begun.intent.name)}): accepted.")
            return await _follow(client, chosen, key)
    if chosen.json:
        write_json(operation)
    elif request.validate_only:
        click.echo("This intent would be taken; nothing was begun.")
    else:
        click.echo(f"Service request {key} ({visible(begun.intent.name)}): accepted.")
        click.echo(f"To follow it: {_command(chosen, 'watch', key)}")
    return 0


def _refused(refused: Refused, chosen: Settings, file: str) -> int:
    """Report why it was not taken; what is wrong in the document is told with its file and line."""
    where = refused.violations[0] if refused.violations else None
    if chosen.json or where is None or where.field.partition(".")[0] != "document":
        return failures.report(refused, chosen.endpoint, json=chosen.json)
    line, colon, told = where.description.partition(": ")
    at = f":{line.removeprefix('line ')}" if colon and line.startswith("line ") else ""
    path = where.field.partition(".")[2]
    failures.complain(f"{file}{at}: {f'{path}: ' if path else ''}{told if at else where.description}")
    return failures.exit_code_of(refused)


@intent.command("watch")
@common_options
@click.argument("service_request_id")
def watch(service_request_id: str) -> None:
    """Tell each step of a service request until every component is active, or none will be."""
    raise click.exceptions.Exit(run(_watch(settings(), service_request_id)))


async def _watch(chosen: Settings, key: str) -> int:
    async with chosen.intents_client() as client:
        return await _follow(client, chosen, key)


async def _follow(client: IntentsClient, chosen: Settings, key: str) -> int:
    """Tell what happens until the outcome is known, and give the exit code that says it."""
    from rear.command.intent_report import outcome
    from rear.command.intent_steps import Steps
    from rear.v1 import intent_service_pb2, service_request_pb2

    steps = Steps()
    shown = service_request_pb2.ServiceRequest()
    request = intent_service_pb2.WatchServiceRequestRequest(service_request_id=key)
    try:
        async for response in client.watch_service_request(request):
            shown, client.patience = response.service_request, PATIENCE
            if chosen.json:
                write_json_line(response)
            else:
                for line in steps.new(shown):
                    click.echo(visible(line))
            if shown.state != service_request_pb2.SERVICE_REQUEST_STATE_IN_PROGRESS:
                break
    except asyncio.CancelledError:
        click.echo(f"It goes on. To follow it again: {_command(chosen, 'watch', key)}", err=True)
        raise
    if not chosen.json:
        for line in outcome(shown):
            click.echo(visible(line))
    good = (service_request_pb2.SERVICE_REQUEST_STATE_READY, service_request_pb2.SERVICE_REQUEST_STATE_COMPLETED)
    return 0 if shown.state in good else failures.FAILURE


@intent.command("show")
@common_options
@click.argument("service_request_id")
def show(service_request_id: str) -> None:
    """Show a service request: where each component is, and what providers said."""
    from rear.v1 import intent_service_pb2

    run(_show(settings(), intent_service_pb2.GetServiceRequestRequest(service_request_id=service_request_id)))


async def _show(chosen: Settings, request: intent_service_pb2.GetServiceRequestRequest) -> None:
    async with chosen.intents_client() as client:
        response = await client.get_service_request(request)
    _show_answer(chosen, response)


@intent.command("cancel")
@common_options
@click.argument("service_request_id")
@click.option("--reason", default="", help="Why, for people.")
@click.option("--request-id", help="Makes a repeated command safe.  [default: a new one]")
def cancel(service_request_id: str, reason: str, request_id: str | None) -> None:
    """End a service request: what it has is given back. One that has ended already stays as it ended."""
    from rear.v1 import intent_service_pb2

    request = intent_service_pb2.CancelServiceRequestRequest(
        service_request_id=service_request_id, reason=reason, request_id=request_id or new_request_id()
    )
    run(_cancel(settings(), request))


async def _cancel(chosen: Settings, request: intent_service_pb2.CancelServiceRequestRequest) -> None:
    async with chosen.intents_client() as client:
        response = await client.cancel_service_request(request)
    _show_answer(chosen, response)


def _show_answer(
    chosen: Settings,
    response: intent_service_pb2.GetServiceRequestResponse | intent_service_pb2.CancelServiceRequestResponse,
) -> None:
    from rear.command.intent_report import write_request

    if chosen.json:
        write_json(response)
    else:
        write_request(response.service_request)


@intent.command("list")
@common_options
@click.option(
    "--state",
    "states",
    type=click.Choice(STATES, case_sensitive=False),
    multiple=True,
    help="State. Repeatable: any of them.",
)
def list_requests(states: tuple[str, ...]) -> None:
    """List your service requests, oldest first; with --json one a line."""
    from rear.v1 import intent_service_pb2, service_request_pb2

    numbers = [
        service_request_pb2.ServiceRequestState.Value(f"SERVICE_REQUEST_STATE_{state.upper()}") for state in states
    ]
    run(_list(settings(), intent_service_pb2.ListServiceRequestsRequest(states=numbers)))


async def _list(chosen: Settings, request: intent_service_pb2.ListServiceRequestsRequest) -> None:
    async with chosen.intents_client() as client:
        if chosen.json:
            async for found in client.service_requests(request):
                write_json_line(found)
        else:
            _write_list(await _all(client.service_requests(request)))


async def _all(
    found: AsyncIterator[service_request_pb2.ServiceRequest],
) -> list[service_request_pb2.ServiceRequest]:
    return [one async for one in found]


def _write_list(listed: Iterable[service_request_pb2.ServiceRequest]) -> None:
    from rear.command.intent_words import state_of
    from rear.wire.values import read_instant

    rows = [
        (
            found.service_request_id,
            found.intent.name,
            state_of(found),
            ", ".join(component.name for component in found.intent.components),
            show_moment(read_instant(found.created_at)),
            found.error.message,
        )
        for found in listed
    ]
    if rows:
        write_table(("service request", "intent", "state", "components", "accepted", "because"), rows)
    else:
        click.echo("No service request.")


@intent.command("schema")
def schema() -> None:
    """Print the JSON Schema of intents (draft 2020-12)."""
    from rear.intent_schema import SCHEMA

    click.echo(SCHEMA.read_text("utf-8"), nl=False)


def _command(chosen: Settings, *words: str) -> str:
    endpoint = [] if chosen.endpoint == DEFAULT_ENDPOINT else ["--endpoint", chosen.endpoint]
    return shlex.join(["rear", "intent", *words, *endpoint])
