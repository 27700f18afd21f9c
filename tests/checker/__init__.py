"""Proves from what clients saw, and from the ledger, that every answer is explained by one order of events."""

from tests.checker.history import Call, load, save
from tests.checker.judgement import Judgement, Unexplained, check
from tests.checker.recording import RecordingClient

__all__ = ["Call", "Judgement", "RecordingClient", "Unexplained", "check", "load", "save"]
