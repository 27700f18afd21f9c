"""The trace player: windows, what is tried in which order, and what a run comes to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import cast

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rear.command.trace import Player, Run
from rear.command.trace_progress import Progress
from rear.command.trace_report import Accepted, Outcome, Report, peak_use, percentiles
from rear.command.trace_source import TraceRequest, read_trace
from rear.domain.contract import contract_id
from rear.domain.demand import Demand
from rear.domain.quantities import Quantities
from rear.domain.units import UnitRequest, UnitShare
from rear.domain.window import SECOND, Duration, Instant, Window
from rear.rpc.client import Client
from rear.rpc.refused import Refused, Unreachable
from rear.v1 import contract_pb2, contract_service_pb2, discovery_service_pb2

HEADER = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,creation_time,deletion_time\n"
START = Instant(1_000 * SECOND)
PROVIDER = "spiffe://campus.example/node/a"


def _trace(tmp_path: Path, *rows: str) -> list[TraceRequest]:
    path = tmp_path / "trace.csv"
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return read_trace(path)


def test_a_row_is_a_partition_over_time(tmp_path: Path) -> None:
    (request,) = _trace(tmp_path, "a,6000,12288,1,460,T4|A10,100,350")
    assert request == TraceRequest(
        "a",
        Demand(Quantities({"cpu_millicores": 6_000, "memory_bytes": 12 * 1_024**3}), (UnitRequest("gpu", 1, 460),)),
        ("T4", "A10"),
        Duration(100 * SECOND),
        Duration(250 * SECOND),
    )


def test_several_gpus_are_whole_ones_and_no_gpu_has_no_model(tmp_path: Path) -> None:
    eight, none = _trace(tmp_path, "a,1,1,8,500,,0,1", "b,1,1,0,0,T4,0,1")
    assert eight.demand.units == (UnitRequest("gpu", 8, 1_000),)
    assert (none.demand.units, none.models) == ((), ())


def test_requests_come_in_the_order_of_their_arrival(tmp_path: Path) -> None:
    requests = _trace(tmp_path, "late,1,1,0,0,,9,10", "early,1,1,0,0,,2,10", "also-late,1,1,0,0,,9,10")
    assert [request.name for request in requests] == ["early", "late", "also-late"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,x,1,0,0,,0,1", "trace.csv:2: cpu_milli is 'x'"),
        ("a,1,1,0,0,,0,", "trace.csv:2: deletion_time is ''"),
        ("a,1,1,0,0,,-1,1", "before the trace began"),
        (",1,1,0,0,,0,1", "name is empty"),
        ("a,1", "memory_mib is ''"),
        ("a,1,1,0,0,,0,1\na,1,1,0,0,,0,1", "trace.csv:3: a is on line 2 already"),
    ],
)
def test_a_wrong_row_is_named_with_its_line(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        _trace(tmp_path, row)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("name,cpu_milli\n")
    with pytest.raises(ValueError, match="no column memory_mib, num_gpu"):
        read_trace(path)


def _request(arrival: int = 0, lifetime: int = 10, name: str = "a", **more: object) -> TraceRequest:
    demand = Demand(Quantities({"cpu_millicores": 1_000}), (UnitRequest("gpu", 1),) if more else ())
    models = cast(tuple[str, ...], more.get("models", ()))
    return TraceRequest(name, demand, models, Duration(arrival * SECOND), Duration(lifetime * SECOND))


def test_compression_divides_arrivals_and_keeps_lengths() -> None:
    window = _request(arrival=100, lifetime=7).window(START, Fraction(1_000))
    assert window == Window(Instant(START + SECOND // 10), Instant(START + SECOND // 10 + 7 * SECOND))


def test_an_arrival_between_two_nanoseconds_is_the_earlier_one() -> None:
    window = _request(arrival=1).window(START, Fraction(3))
    assert window.start == START + 333_333_333
    assert window.duration == 10 * SECOND


@given(st.integers(0, 10**8), st.integers(0, 10**8), st.fractions(Fraction(1, 100), 10_000))
def test_compression_keeps_the_order_of_arrivals(first: int, second: int, compress: Fraction) -> None:
    starts = [_request(arrival=arrival).window(START, compress).start for arrival in (first, second)]
    assert (first <= second) <= (starts[0] <= starts[1])
    assert starts[0] == START + int(Fraction(first * SECOND) / compress)


def test_the_whole_recorded_trace_is_read(openb: Path) -> None:
    requests = read_trace(openb / "openb_pod_list_default.csv")
    assert len(requests) == 8_152
    assert sum(not request.lifetime for request in requests) == 1
    assert {unit.count for request in requests for unit in request.demand.units} == {1, 2, 4, 8}


def _accepted(start: int, end: int, cpu: int, *gpus: tuple[str, int], pool: str = "p") -> Accepted:
    return Accepted(
        "",
        pool,
        Window(Instant(start), Instant(end)),
        Quantities({"cpu_millicores": cpu}),
        tuple(UnitShare("gpu", name, millis) for name, millis in gpus),
    )


def test_peak_use_is_of_one_instant_and_windows_are_half_open() -> None:
    held = [
        _accepted(0, 10, 5, ("gpu-0", 400)),
        _accepted(5, 10, 3, ("gpu-0", 500)),
        _accepted(10, 20, 7, ("gpu-0", 1_000), ("gpu-1", 1_000)),
        _accepted(19, 20, 0, ("gpu-0", 100), pool="q"),
    ]
    assert peak_use(held) == {"cpu_millicores": 8, "gpu_devices": 3, "gpu_millis": 2_100}
    assert peak_use([]) == {}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9), st.integers(1, 5)), max_size=12))
def test_peak_use_agrees_with_looking_at_every_instant(holds: list[tuple[int, int, int]]) -> None:
    held = [_accepted(start, start + length, cpu) for start, length, cpu in holds]
    slow = max(
        sum(one.quantities["cpu_millicores"] for one in held if one.window.contains(Instant(at))) for at in range(20)
    )
    assert peak_use(held).get("cpu_millicores", 0) == slow


def test_percentiles_are_of_the_nearest_rank() -> None:
    assert percentiles([value / 1_000 for value in range(1, 101)]) == {50: 50.0, 90: 90.0, 99: 99.0, 100: 100.0}
    assert percentiles([0.002]) == {50: 2.0, 90: 2.0, 99: 2.0, 100: 2.0}
    assert percentiles([]) == {50: 0.0, 90: 0.0, 99: 0.0, 100: 0.0}


Listing = Callable[[discovery_service_pb2.ListFlavoursRequest], list[str]]


class Provider:
    """Stands in for the client: `fits` says which flavours a list names, `sells` which of them say yes."""

    def __init__(self, fits: Listing, sells: set[str]) -> None:
        self.fits = fits
        self.sells = sells
        self.models: tuple[str, ...] = ("T4",)
        self.failure: Exception | None = None
        self.lists: list[discovery_service_pb2.ListFlavoursRequest] = []
        self.reserves: list[contract_service_pb2.ReserveFlavourRequest] = []
        self.contracts: dict[str, contract_pb2.Contract] = {}

    async def list_flavours(
        self, request: discovery_service_pb2.ListFlavoursRequest
    ) -> discovery_service_pb2.ListFlavoursResponse:
        await asyncio.sleep(0)
        self.lists.append(request)
        if request.HasField("selector") and request.selector.window.start == request.selector.window.end:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "the window is empty", reason="INVALID_FIELD")
        response = discovery_service_pb2.ListFlavoursResponse()
        for flavour_id in self.fits(request)[: request.limit]:
            flavour = response.flavours.add().flavour
            flavour.flavour_id, flavour.provider_id = flavour_id, PROVIDER
            for model in self.models:
                flavour.units.add().unit.attributes["model"] = model
        return response

    async def reserve_flavour(
        self, request: contract_service_pb2.ReserveFlavourRequest
    ) -> contract_service_pb2.ReserveFlavourResponse:
        await asyncio.sleep(0)
        self.reserves.append(request)
        if self.failure is not None:
            raise self.failure
        contract_id = self.contract_id(PROVIDER, request.request_id)
        if contract_id in self.contracts:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, "", reason="REQUEST_ID_REUSED")
        if request.flavour_id not in self.sells:
            offer = contract_pb2.CounterOffer(flavour_id=request.flavour_id)
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", reason="CAPACITY_EXCEEDED", counter_offer=offer)
        contract = contract_pb2.Contract(
            contract_id=contract_id, pool_id=request.flavour_id, partition=request.partition, window=request.window
        )
        self.contracts[contract_id] = contract
        return contract_service_pb2.ReserveFlavourResponse(contract=contract)

    async def get_contract(
        self, request: contract_service_pb2.GetContractRequest
    ) -> contract_service_pb2.GetContractResponse:
        await asyncio.sleep(0)
        if request.contract_id not in self.contracts:
            raise Refused(grpc.StatusCode.NOT_FOUND, "", reason="CONTRACT_NOT_FOUND")
        return contract_service_pb2.GetContractResponse(contract=self.contracts[request.contract_id])

    def contract_id(self, provider_id: str, request_id: str) -> str:
        return contract_id(provider_id, "me", request_id)


async def _play(provider: Provider, *requests: TraceRequest, resumed: bool = False, in_flight: int = 1) -> Report:
    report = Report(len(requests))
    run = Run("run", START, Fraction(1), resumed)
    with Progress(report) as progress:
        await Player(cast(Client, provider), run, requests).play(in_flight, progress)
    return report


async def test_flavours_are_tried_in_order_until_one_says_yes() -> None:
    provider = Provider(lambda request: ["a-1", "b-1", "c-1"], {"b-1", "c-1"})
    report = await _play(provider, _request())
    assert [request.flavour_id for request in provider.reserves] == ["a-1", "b-1"]
    assert all(request.confirm for request in provider.reserves)
    assert len({request.request_id for request in provider.reserves}) == 1
    # One to learn who the provider is, one for the request.
    assert [request.limit for request in provider.lists] == [1, 10]
    assert report.played == {Outcome.ACCEPTED: 1}
    assert report.accepted[0].pool_id == "b-1"


async def test_where_nothing_is_listed_the_best_that_could_ever_hold_it_is_asked() -> None:
    request = _request(lifetime=60)
    afterwards = START + 60 * SECOND
    provider = Provider(
        lambda asked: ["a-1"] if asked.selector.window.start.seconds * SECOND >= afterwards else [], set()
    )
    report = await _play(provider, request)
    assert [asked.window.start.seconds for asked in provider.reserves] == [START // SECOND]
    assert report.played == {Outcome.COUNTER_OFFER: 1}


async def test_what_is_larger_than_every_flavour_is_refused_without_counter_offer() -> None:
    report = await _play(Provider(lambda request: [], set()), _request())
    assert report.played == {Outcome.REFUSED: 1}
    assert report.reasons == {(Outcome.REFUSED, "NO_FLAVOUR"): 1}


async def test_a_request_of_no_length_is_sent_and_counted_as_invalid() -> None:
    provider = Provider(lambda request: ["a-1"], {"a-1"})
    report = await _play(provider, _request(lifetime=0))
    assert report.reasons == {(Outcome.INVALID, "INVALID_FIELD"): 1}
    assert provider.reserves == []


async def test_one_model_is_asked_for_and_several_are_tried_in_turn() -> None:
    provider = Provider(lambda request: ["a-1"], set())
    provider.models = ("T4", "A10", "V100")
    await _play(provider, _request(models=("T4",)), _request(name="b", models=("A10", "P100", "T4")))
    wanted = [(asked.flavour_id, asked.partition.units[0].attributes["model"]) for asked in provider.reserves]
    assert wanted == [("a-1", "T4"), ("a-1", "A10"), ("a-1", "T4")]
    selectors = [asked.selector for asked in provider.lists[1:]]
    assert selectors[0].partition.units[0].attributes["model"] == "T4"
    assert "model" not in selectors[1].partition.units[0].attributes
    assert list(selectors[1].gpu_model.any_of) == ["A10", "P100", "T4"]


async def test_a_run_that_goes_on_buys_nothing_twice() -> None:
    provider = Provider(lambda request: ["a-1"], {"a-1"})
    requests = [_request(name=name) for name in "abc"]
    await _play(provider, *requests[:2])
    report = await _play(provider, *requests, resumed=True)
    assert len(provider.reserves) == len(provider.contracts) == 3
    assert (report.played[Outcome.ACCEPTED], report.earlier) == (3, 2)


async def test_a_contract_that_landed_behind_our_back_is_found() -> None:
    provider = Provider(lambda request: ["a-1"], {"a-1"})
    await _play(provider, _request())
    report = await _play(provider, _request())
    assert (report.played[Outcome.ACCEPTED], report.earlier, len(provider.contracts)) == (1, 1, 1)


async def test_a_provider_that_stays_away_ends_the_run() -> None:
    provider = Provider(lambda request: ["a-1"], {"a-1"})
    provider.failure = Unreachable(grpc.StatusCode.UNAVAILABLE, "gone")
    report = await _play(provider, *[_request(name=str(number)) for number in range(20)], in_flight=4)
    assert report.played == {Outcome.UNREACHABLE: 4}
    assert report.as_json()["notPlayed"] == 16


async def test_as_many_requests_as_allowed_are_in_flight() -> None:
    provider = Provider(lambda request: ["a-1"], {"a-1"})
    report = await _play(provider, *[_request(name=str(number)) for number in range(50)], in_flight=8)
    assert report.played == {Outcome.ACCEPTED: 50}
    assert list(report.lines())
