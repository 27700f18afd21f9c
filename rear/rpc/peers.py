"""Calls to other services, over connections that stay open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import grpc

from rear.domain.candidate import Candidate, expected_window
from rear.domain.fabric import HeardOffer, ResourceRequest
from rear.domain.window import SECOND, Duration, Instant
from rear.managers.consumer.peers import Listing, Question, Unanswered
from rear.rpc.client import Client
from rear.rpc.heard import UNTRUE, WRONG_SERVICE, in_domain
from rear.rpc.refused import CallFailed, UntrueAnswer
from rear.rpc.spiffe import anybody_of
from rear.rpc.tls_files import TlsError, TlsFiles
from rear.v1 import discovery_service_pb2, flavour_pb2
from rear.wire.fabric import offer_from, request_to_proto
from rear.wire.heard import Unusable, candidate_from
from rear.wire.questions import FLAVOUR_ORDER_NUMBERS, write_selector

PATIENCE: Final = 0.3
"""Seconds within which a peer that is not there is asked again: one that restarts, or whose connection was lost."""


MOST_CLIENTS: Final = 512
"""Services to which connections are kept: more than there are neighbours at a time, and not all that ever were."""


class RpcPeers:
    """`Peers` over gRPC: one client for each endpoint and provider. `close` ends them all.

    Of those that nothing was asked of for the longest time only so many are kept: who is a neighbour changes, and
    without TLS anybody near may announce any number, one after the other.
    """

    def __init__(self, tls: TlsFiles | None, domain: str) -> None:
        """`tls` is what the node itself is known by. With it a peer must prove to be who it should be: where that is
        not known, somebody of `domain`.
        """
        self._tls = tls
        self._anybody = anybody_of(domain)
        self._clients: dict[tuple[str, str], Client] = {}
        """The one that was asked last comes last."""
        self._heard: dict[str, str] = {}
        """Where each provider answered last. It may have moved since a contract was made with it."""
        self._closing: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Ends all connections; calls under way are cancelled."""
        clients, self._clients = list(self._clients.values()), {}
        await asyncio.gather(*(client.close() for client in clients), *self._closing)

    async def list_flavours(
        self, endpoint: str, provider_id: str, question: Question, asked_at: Instant, *, deadline: float
    ) -> Listing:
        """LIST_FLAVOURS. Raises what `Peers` says."""
        request = discovery_service_pb2.ListFlavoursRequest(
            limit=question.limit, order=FLAVOUR_ORDER_NUMBERS[question.order]
        )
        write_selector(request.selector, question.selector)
        with understood(endpoint, deadline):
            client = self.client(endpoint, provider_id)
            async with asyncio.timeout(deadline):
                response = await client.list_flavours(request)
        listing = _listing(response, endpoint, provider_id or client.proved, question, asked_at)
        self._hear(client.endpoint, provider_id or client.proved or _who(listing))
        return listing

    async def request_resources(
        self, endpoint: str, provider_id: str, asked: ResourceRequest, *, deadline: float
    ) -> HeardOffer:
        """The resources of a contract. Raises what `Peers` says."""
        clock = asyncio.get_running_loop().time
        began = clock()
        with understood(endpoint, deadline):
            async with asyncio.timeout(deadline):
                client = self.client(endpoint, provider_id)
                response = await client.request_resources(request_to_proto(asked, provider_id))
                offer, contract = offer_from(response, asked)
        if contract.provider_id != provider_id:
            code: int = grpc.StatusCode.UNAUTHENTICATED.value[0]
            raise Unanswered(code, f"{endpoint} should be {provider_id}, and is {contract.provider_id}", WRONG_SERVICE)
        return HeardOffer(offer, contract, client.endpoint, Duration(round((clock() - began) * SECOND)))

    def client(self, endpoint: str, provider_id: str) -> Client:
        """The client for a service, which may be shared by many. Raises TlsError."""
        key = (endpoint, provider_id)
        client = self._clients.pop(key, None)
        if client is None:
            if len(self._clients) >= MOST_CLIENTS:
                self._let_go()
            client = Client(
                endpoint,
                patience=PATIENCE,
                tls=self._tls,
                provider_id=None if self._tls is None else provider_id or self._anybody,
            )
        self._clients[key] = client
        if provider_id in self._heard:
            client.add_endpoint(self._heard[provider_id])
        return client

    def _hear(self, endpoint: str, provider_id: str) -> None:
        self._heard.pop(provider_id, None)
        if provider_id:
            self._heard[provider_id] = endpoint
        if len(self._heard) > MOST_CLIENTS:
            del self._heard[next(iter(self._heard))]

    def _let_go(self) -> None:
        """Closes the client that has been idle for the longest time."""
        key = next((key for key, client in self._clients.items() if client.idle), None)
        if key is not None:
            task = asyncio.get_running_loop().create_task(self._clients.pop(key).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


@contextmanager
def understood(endpoint: str, deadline: float) -> Iterator[None]:
    """Calls in here raise the domain's refusals, and Unanswered."""
    try:
        yield
    except TimeoutError:
        code: int = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        raise Unanswered(code, f"{endpoint} did not answer within {deadline:g} s") from None
    except (CallFailed, UntrueAnswer, Unusable, TlsError) as error:
        raise in_domain(error) from error


def _listing(
    response: discovery_service_pb2.ListFlavoursResponse,
    endpoint: str,
    provider_id: str,
    question: Question,
    asked_at: Instant,
) -> Listing:
    window = expected_window(question.selector.window, asked_at)
    candidates: list[Candidate] = []
    complaints: list[str] = []
    for message in response.flavours[: question.limit]:
        try:
            candidates.append(candidate_from(message, window, asked_at, endpoint))
        except Unusable as unusable:
            complaints.append(str(unusable))
    _check_who(response.flavours, endpoint, provider_id)
    return Listing(
        tuple(candidates),
        len(complaints),
        response.truncated or len(response.flavours) > question.limit,
        complaints[0] if complaints else "",
    )


def _who(listing: Listing) -> str:
    return next((candidate.provider_id for candidate in listing.candidates), "")


def _check_who(flavours: Sequence[flavour_pb2.ListedFlavour], endpoint: str, provider_id: str) -> None:
    """A peer speaks for itself only. Raises Unanswered where what it offers is another's."""
    said = {listed.flavour.provider_id for listed in flavours} | ({provider_id} if provider_id else set())
    if len(said) <= 1:
        return
    others = sorted(said - {provider_id})
    if provider_id:
        code: int = grpc.StatusCode.UNAUTHENTICATED.value[0]
        raise Unanswered(
            code, f"{endpoint} should be {provider_id}, but offers what is of {others[0][:200]!r}", WRONG_SERVICE
        )
    code = grpc.StatusCode.INTERNAL.value[0]
    raise Unanswered(code, f"{endpoint} offers what is of {len(others)} different providers", UNTRUE)
