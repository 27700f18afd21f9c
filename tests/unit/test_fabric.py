"""Requests for resources and offers of them: what covers what, what is on the wire, and what is secret."""

from __future__ import annotations

import hmac
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from nodes.fabric.embedded import EmbeddedFabric
from nodes.fabric.key import load_key
from rear.domain import contract as contracts
from rear.domain.contract import Contract
from rear.domain.events import ContractReserved
from rear.domain.fabric import Grant, HeardOffer, ResourceOffer, ResourceRequest, Slice, check_covers
from rear.domain.quantities import Quantities
from rear.domain.refusals import InvalidField
from rear.domain.units import UnitShare
from rear.domain.window import SECOND, Duration, Window, after
from rear.v1 import fabric_service_pb2 as pb
from rear.wire.contracts import read_copy, write_contract
from rear.wire.fabric import offer_from, request_from, request_to_proto, write_resource_offer
from rear.wire.heard import Unusable
from tests.examples import BUYER, EVENTS, SOURCE

RESERVED: Final = next(event for event in EVENTS if isinstance(event, ContractReserved))
CONTRACT: Final[Contract] = contracts.evolve(None, RESERVED)
ASKED: Final = ResourceRequest(CONTRACT.id, CONTRACT.partition.quantities, CONTRACT.assigned_units, CONTRACT.window)
SECRET: Final = bytes(range(32))
SLICE: Final = Slice(ASKED.contract_id, BUYER, ASKED.quantities, ASKED.units, ASKED.window)
OFFER: Final = ResourceOffer(
    CONTRACT.id,
    CONTRACT.allocation_id,
    "embedded",
    Grant("10.0.0.7:7000", b"s" * 32),
    ASKED.quantities,
    ASKED.units,
    ASKED.window,
    active=False,
)


def response(offer: ResourceOffer = OFFER) -> pb.RequestResourcesResponse:
    message = pb.RequestResourcesResponse()
    write_resource_offer(message.offer, offer)
    write_contract(message.contract, CONTRACT, SOURCE)
    return message


def heard(offer: ResourceOffer = OFFER, provider_id: str = SOURCE) -> HeardOffer:
    message = response(offer).contract
    message.provider_id = provider_id
    return HeardOffer(offer, read_copy(message), "127.0.0.1:7431", Duration(1))


def test_a_contract_covers_what_it_is_about() -> None:
    check_covers(CONTRACT, ASKED)
    check_covers(CONTRACT, replace(ASKED, units=tuple(reversed(ASKED.units))))


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (replace(ASKED, quantities=Quantities({**ASKED.quantities, "cpu_millicores": 1})), "quantities.cpu_millicores"),
        (replace(ASKED, quantities=Quantities({"cpu_millicores": 4_000})), "quantities.memory_bytes"),
        (replace(ASKED, quantities=Quantities({**ASKED.quantities, "net": 0})), "quantities.extended[net]"),
        (replace(ASKED, units=()), "units"),
        (replace(ASKED, units=(UnitShare("gpu", "gpu-0", 499),)), "units"),
        (replace(ASKED, units=(*ASKED.units, *ASKED.units)), "units"),
        (replace(ASKED, window=Window(after(ASKED.window.start, 1), ASKED.window.end)), "window.start"),
        (replace(ASKED, window=Window(ASKED.window.start, after(ASKED.window.end, SECOND))), "window.end"),
    ],
)
def test_whatever_differs_is_named(asked: ResourceRequest, field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        check_covers(CONTRACT, asked)

    assert refused.value.field == field


def test_a_request_comes_over_the_wire_as_it_was() -> None:
    message = request_to_proto(ASKED, SOURCE)

    assert message.provider_id == SOURCE
    assert request_from(pb.RequestResourcesRequest.FromString(message.SerializeToString())) == ASKED


@pytest.mark.parametrize("edge", ["start", "end"])
def test_a_request_needs_both_edges_of_the_window(edge: str) -> None:
    message = request_to_proto(ASKED, "")
    message.window.ClearField(edge)  # type: ignore[arg-type]

    with pytest.raises(InvalidField) as refused:
        request_from(message)
    assert refused.value.field == f"window.{edge}"


def test_an_offer_comes_over_the_wire_as_it_was() -> None:
    offer, contract = offer_from(response(), ASKED)

    assert offer == OFFER
    assert (contract.id, contract.provider_id, contract.revision) == (CONTRACT.id, SOURCE, CONTRACT.version)


@pytest.mark.parametrize(
    "offer",
    [
        replace(OFFER, contract_id="another"),
        replace(OFFER, quantities=Quantities({"cpu_millicores": 1})),
        replace(OFFER, units=()),
        replace(OFFER, window=Window(OFFER.window.start, after(OFFER.window.end, 1))),
        replace(OFFER, grant=Grant("10.0.0.7:7000", b"s" * 100_000)),
    ],
)
def test_an_offer_of_something_else_is_of_no_use(offer: ResourceOffer) -> None:
    with pytest.raises(Unusable):
        offer_from(response(offer), ASKED)


@pytest.mark.parametrize("shown", [repr, str])
def test_a_credential_does_not_show(shown: type[str]) -> None:
    assert "ssss" not in shown(OFFER)
    assert "ssss" not in shown(heard())
    assert "ssss" not in shown(Grant("x", b"ssss"))


async def test_a_credential_is_the_same_each_time_and_good_for_nothing_else() -> None:
    fabric = EmbeddedFabric(SECRET, "10.0.0.7:7000")
    granted = await fabric.grant(SLICE)

    assert await fabric.grant(SLICE) == granted
    assert await EmbeddedFabric(SECRET, "10.0.0.7:7000").grant(SLICE) == granted
    others = [
        await fabric.grant(replace(SLICE, contract_id=f"{SLICE.contract_id}1")),
        await fabric.grant(replace(SLICE, peer_id=f"{BUYER}1")),
        await EmbeddedFabric(bytes(32), "10.0.0.7:7000").grant(SLICE),
    ]
    assert len({granted.credential, *(other.credential for other in others)}) == 4
    assert all(len(each.credential) == 32 for each in (granted, *others))


async def test_a_credential_cannot_be_worked_out_from_what_both_sides_know() -> None:
    granted = await EmbeddedFabric(SECRET, "").grant(SLICE)

    for key in (b"", SLICE.contract_id.encode(), BUYER.encode(), SOURCE.encode()):
        for said in (SLICE.contract_id, f"{SLICE.contract_id}\n{BUYER}", f"{BUYER}\n{SLICE.contract_id}"):
            assert hmac.digest(key, said.encode(), "sha256") != granted.credential


def test_the_secret_is_made_once_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "fabric.key"
    made = load_key(path)

    assert len(made) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path) == made
    assert [found.name for found in tmp_path.iterdir()] == ["fabric.key"]


@pytest.mark.parametrize("left", [None, b"", b"half"])
def test_a_secret_that_is_lost_or_damaged_is_made_anew(tmp_path: Path, left: bytes | None) -> None:
    path = tmp_path / "fabric.key"
    made = load_key(path)
    path.unlink()
    if left is not None:
        path.write_bytes(left)

    anew = load_key(path)

    assert anew != made
    assert load_key(path) == anew
