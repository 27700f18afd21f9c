"""News of candidates, as the stream of offers keeps them."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from rear.domain.candidate import Candidate
from rear.domain.value import value
from rear.domain.window import Instant
from rear.event.v1.offers_pb2 import CandidateNews
from rear.wire.heard import Unusable, candidate_from
from rear.wire.values import read_instant, read_window, write_instant, write_window


@value
class Withdrawn:
    """A pool of a provider offers nothing any more."""

    provider_id: str
    pool_id: str


def write_candidate(source: str, candidate: Candidate) -> bytes:
    """The message that says that it was heard."""
    news = CandidateNews(source=source)
    news.heard.offer.ParseFromString(candidate.message)
    write_instant(news.heard.heard_at, candidate.heard_at)
    write_window(news.heard.window, candidate.window)
    return news.SerializeToString()


def write_withdrawn(source: str, provider_id: str, pool_id: str, at: Instant) -> bytes:
    """The message that says that it is no more."""
    news = CandidateNews(source=source)
    news.withdrawn.provider_id = provider_id
    news.withdrawn.pool_id = pool_id
    write_instant(news.withdrawn.withdrawn_at, at)
    return news.SerializeToString()


def read_news(payload: bytes) -> Candidate | Withdrawn:
    """What a message says. Raises Unusable."""
    try:
        news = CandidateNews.FromString(payload)
    except DecodeError as error:
        raise Unusable(f"no news of a candidate: {error}") from error
    match news.WhichOneof("body"):
        case "heard":
            heard = news.heard
            return candidate_from(heard.offer, read_window(heard.window), read_instant(heard.heard_at))
        case "withdrawn":
            return Withdrawn(news.withdrawn.provider_id, news.withdrawn.pool_id)
        case _:
            raise Unusable("news of a candidate that say nothing that is known here")
