"""Applications of the library that follow each other, and projections, on the persistence module."""

from __future__ import annotations

import secrets
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import pytest
from eventsourcing.application import AggregateNotFoundError, Application, ProcessingEvent
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, DomainEventProtocol, event
from eventsourcing.persistence import Tracking
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.system import MultiThreadedRunner, ProcessApplication, Runner, SingleThreadedRunner, System

from rear.persistence import JetStreamTrackingRecorder
from tests.nats_servers import PlainServer

TRICKS = 5


class Dog(Aggregate):
    @event("Registered")
    def __init__(self, name: str) -> None:
        self.name = name

    @event("TrickAdded")
    def add_trick(self, trick: str) -> None:
        pass


class Counter(Aggregate):
    @event("Begun")
    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0

    @classmethod
    def create_id(cls, name: str) -> UUID:
        return uuid5(NAMESPACE_URL, name)

    @event("Counted")
    def up(self) -> None:
        self.count += 1


class School(Application[UUID]):
    def teach(self, name: str, trick: str, times: int) -> None:
        dog = Dog(name)
        self.save(dog)
        for _ in range(times):
            dog.add_trick(trick)
            self.save(dog)


class Counters(ProcessApplication[UUID]):
    def policy(self, domain_event: DomainEventProtocol[UUID], processing_event: ProcessingEvent[UUID]) -> None:
        if isinstance(domain_event, Dog.Event) and type(domain_event).__name__ == "TrickAdded":
            counter = self.of(domain_event.trick)  # type: ignore[attr-defined]
            counter.up()
            processing_event.collect_events(counter)

    def of(self, trick: str) -> Counter:
        try:
            found: Counter = self.repository.get(Counter.create_id(trick))
        except AggregateNotFoundError:
            return Counter(trick)
        return found


class Seen(JetStreamTrackingRecorder):
    """How far a projection is, and nothing else."""


class Seeing(Projection[Seen]):
    name = "seeing"

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.insert_tracking(tracking)


@pytest.fixture
def env(plain_server: PlainServer) -> dict[str, str]:
    return {
        "PERSISTENCE_MODULE": "rear.persistence",
        "JETSTREAM_URL": plain_server.url,
        "JETSTREAM_PREFIX": "T" + secrets.token_hex(4),
    }


@pytest.mark.parametrize("runner_class", [SingleThreadedRunner, MultiThreadedRunner])
def test_one_application_processes_each_event_of_another_once(
    env: dict[str, str], runner_class: type[Runner[UUID]]
) -> None:
    with runner_class(System(pipes=[[School, Counters]]), env=env) as runner:
        school, counters = runner.get(School), runner.get(Counters)
        school.teach("Fido", "roll over", TRICKS)
        newest = school.recorder.max_notification_id()
        assert newest == TRICKS + 1
        counters.recorder.wait(school.name, newest, timeout=10)
        assert counters.of("roll over").count == TRICKS
        assert counters.recorder.max_tracking_id(school.name) == newest
        # The first event caused none, only a tracking; then each commit has a tracking before its events.
        assert [each.id for each in counters.recorder.select_notifications(1, 100)] == [3, 4, 6, 8, 10, 12]


def test_a_projection_follows_an_application_and_goes_on_where_it_was(env: dict[str, str]) -> None:
    for rounds in (1, 2):
        with ProjectionRunner(application_class=School, projection_class=Seeing, view_class=Seen, env=env) as runner:
            runner.app.teach("Rex", "sit", 2)
            runner.wait(runner.app.recorder.max_notification_id(), timeout=10)
            assert runner.projection.view.max_tracking_id("School") == 3 * rounds
