"""The event-sourcing library's own test cases, on a real nats-server."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from unittest import TestCase

import pytest
from eventsourcing.persistence import AggregateRecorder, ApplicationRecorder, ProcessRecorder, TrackingRecorder
from eventsourcing.tests.application import ExampleApplicationTestCase
from eventsourcing.tests.persistence import (
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    InfrastructureFactoryTestCase,
    NonInterleavingNotificationIDsBaseCase,
    ProcessRecorderTestCase,
    TrackingRecorderTestCase,
)
from eventsourcing.utils import Environment

from rear.persistence import (
    Factory,
    JetStreamAggregateRecorder,
    JetStreamApplicationRecorder,
    JetStreamFactory,
    JetStreamProcessRecorder,
    JetStreamTrackingRecorder,
)
from tests.nats_servers import PlainServer

if TYPE_CHECKING:
    OnServer = TestCase
else:
    OnServer = object


class _OnServer(OnServer):
    """Has `env`: a server, and streams that nobody else uses."""

    env: Environment

    @pytest.fixture(autouse=True)
    def _environment(self, plain_server: PlainServer) -> None:
        self.env = Environment(
            "App" + secrets.token_hex(4),
            {"PERSISTENCE_MODULE": "rear.persistence", "JETSTREAM_URL": plain_server.url},
        )


class _WithFactory(_OnServer):
    def setUp(self) -> None:
        self.factory = JetStreamFactory(self.env)

    def tearDown(self) -> None:
        self.factory.close()


class TestAggregateRecorder(_WithFactory, AggregateRecorderTestCase):
    def create_recorder(self) -> AggregateRecorder:
        return self.factory.aggregate_recorder()


class TestApplicationRecorder(_WithFactory, ApplicationRecorderTestCase):
    def create_recorder(self) -> ApplicationRecorder:
        return self.factory.application_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestNonInterleaving(_WithFactory, NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> ApplicationRecorder:
        return self.factory.application_recorder()


class TestTrackingRecorder(_WithFactory, TrackingRecorderTestCase):
    def create_recorder(self) -> TrackingRecorder:
        return self.factory.tracking_recorder()


class TestProcessRecorder(_WithFactory, ProcessRecorderTestCase):
    def create_recorder(self) -> ProcessRecorder:
        return self.factory.process_recorder()


class TestProcessRecorderAsApplicationRecorder(_WithFactory, ApplicationRecorderTestCase):
    def create_recorder(self) -> ApplicationRecorder:
        return self.factory.process_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class CountingRecorder(JetStreamTrackingRecorder):
    """A tracking recorder of somebody's own."""


class TestInfrastructureFactory(_OnServer, InfrastructureFactoryTestCase[JetStreamFactory]):
    def expected_factory_class(self) -> type[JetStreamFactory]:
        return Factory

    def expected_aggregate_recorder_class(self) -> type[AggregateRecorder]:
        return JetStreamAggregateRecorder

    def expected_application_recorder_class(self) -> type[ApplicationRecorder]:
        return JetStreamApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[TrackingRecorder]:
        return JetStreamTrackingRecorder

    def tracking_recorder_subclass(self) -> type[TrackingRecorder]:
        return CountingRecorder

    def expected_process_recorder_class(self) -> type[ProcessRecorder]:
        return JetStreamProcessRecorder


class TestExampleApplication(ExampleApplicationTestCase):
    expected_factory_topic = "rear.persistence.factory:JetStreamFactory"

    @pytest.fixture(autouse=True)
    def _environment(self, plain_server: PlainServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PERSISTENCE_MODULE", "rear.persistence")
        monkeypatch.setenv("JETSTREAM_URL", plain_server.url)


# What they derive from is not for us to run.
del AggregateRecorderTestCase, ApplicationRecorderTestCase, NonInterleavingNotificationIDsBaseCase
del TrackingRecorderTestCase, ProcessRecorderTestCase, InfrastructureFactoryTestCase, ExampleApplicationTestCase
