"""The judgement of a history: is every answer explained by one order of events?

Linearizability is hard to check where nothing is known of the order of the writes. Here the ledger *is* that order: it
is a witness, and what remains is to check the witness. Each event has one place in it; a write's point is its commit's
place, a read's point is the position that it carries, and a refusal, which carries none, is a read of which only the
answer is known. So it suffices to see that

* the ledger by itself is one that could come to be (`replay`): nothing oversold, nothing half-done, whole;
* each OK is what stands at its point, each effect in the ledger belongs to exactly one request that was sent, and no
  request had two;
* each refusal is true at some point between two bounds: the newest point of a call that had ended before this one
  began (`order.Floor`), and the place before the first effect of a request that was first sent after this one had
  ended (`order.Ceiling`). Taking the first such point leaves most room to the calls that follow, so none has to be
  tried twice: one pass, no search;
* points go with real time: none lies before that of a call that had ended when its own began. As the bounds hold for
  all calls, in whatever pool, this is stronger than linearizable for each pool. Lists of flavours look at one pool
  after the other, and only promise it for each.

An attempt without an answer has had its effect once or not at all, wherever after its beginning, but not after another
attempt of the same request was answered.

This holds over take-overs too: a process that is no longer the writer answers nothing from what it remembers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final

from google.protobuf.message import Message

from rear.v1.audit_service_pb2 import RecordedEvent
from rear.v1.contract_service_pb2 import ListContractsResponse
from rear.v1.discovery_service_pb2 import GetFlavourResponse, ListFlavoursRequest, ListFlavoursResponse
from tests.checker import counter_offers, reads
from tests.checker.history import WRITES, Call, Refusal, Unknown
from tests.checker.lives import LIVE
from tests.checker.order import Ceiling, Floor, candidates
from tests.checker.recording import NOTHING_CHANGED
from tests.checker.refusals import JUDGES, Between
from tests.checker.replay import Replay
from tests.checker.timelines import Effect

MOST_FINDINGS_SHOWN: Final = 12

NOT_OF_STATE: Final = frozenset({"INVALID_FIELD", "PRICE_ABOVE_MAXIMUM"}) | NOTHING_CHANGED
"""Refusals that no event can make true or untrue. Only that they had no effect is checked."""

ENDS: Final = frozenset({"CancelContract", "RevokeContract"})
"""What is answered OK, without an effect, for a contract that has ended."""


class Unexplained(AssertionError):
    """A history that no order of events explains, or a ledger that must not be."""


@dataclass(slots=True)
class Judgement:
    """What was found, and how much was looked at: calls by method and answer."""

    findings: list[str] = field(default_factory=list)
    judged: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return ", ".join(f"{count} {what}" for what, count in sorted(self.judged.items()))


def check(calls: Iterable[Call], recorded: Sequence[RecordedEvent], *, after: int = 0, skew: int = 0) -> Judgement:
    """Raises Unexplained where something is wrong, and names the calls and events.

    The history has every request with an effect after the sequence `after`. `skew` is by how many nanoseconds the
    service's clock may be ahead of the clients'.
    """
    judgement = judge(calls, recorded, after=after, skew=skew)
    if judgement.findings:
        shown = judgement.findings[:MOST_FINDINGS_SHOWN]
        more = len(judgement.findings) - len(shown)
        raise Unexplained("\n".join([*shown, *([f"and {more} more"] if more else [])]))
    return judgement


def judge(calls: Iterable[Call], recorded: Sequence[RecordedEvent], *, after: int = 0, skew: int = 0) -> Judgement:
    """As `check`, without raising."""
    return _Court(calls, Replay(recorded), after, skew).judge()


class _Court:
    def __init__(self, calls: Iterable[Call], replay: Replay, after: int, skew: int) -> None:
        self.replay = replay
        self.result = Judgement(list(replay.findings))
        anonymous = _anonymous(replay)
        named = (call if call.caller else replace(call, caller=anonymous) for call in calls)
        self.calls = sorted(named, key=lambda call: call.began)
        self._skew = skew
        self._pages = reads.Pages(replay)
        self._floor = Floor()
        self._attempts: dict[tuple[str, str], list[Call]] = defaultdict(list)
        for call in self.calls:
            if call.writes:
                self._attempts[call.caller, call.request_id].append(call)
        self._made: dict[tuple[str, str], Effect] = {}
        sent = []
        for effect in replay.effects:
            if effect.last <= after:
                self._made[effect.caller, effect.request_id] = effect
            elif (began := self._sent(effect)) is not None:
                sent.append((began, effect))
        self._ceiling = Ceiling(sent, replay.length)

    def judge(self) -> Judgement:
        if not self.replay.whole:
            return self.result
        for call in self.calls:
            floor = self._floor.under(call)
            self._lower_bound_of_effect(call, floor)
            match call.outcome:
                case Unknown():
                    self._count(call, "unknown")
                case Refusal() as refusal:
                    self._count(call, refusal.reason)
                    self._refused(call, refusal, floor)
                case answer:
                    self._count(call, "OK")
                    self._answered(call, answer, floor)
        return self.result

    # -- effects -------------------------------------------------------------------------------------------

    def _sent(self, effect: Effect) -> int | None:
        """When the effect's request was first sent; a finding where it has none, or is not its only effect."""
        key = (effect.caller, effect.request_id)
        if key in self._made:
            self._find(f"{effect} are a second effect, after {self._made[key]}; {self._tell(key)}")
        self._made.setdefault(key, effect)
        attempts = [
            call
            for call in self._attempts.get(key, ())
            if call.method == effect.method and fingerprint(call.request) == effect.fingerprint
        ]
        if not attempts:
            self._find(f"nobody asked for {effect}")
            return None
        possible = candidates(attempts)
        if not possible:
            self._find(f"{effect} were done, though every attempt was refused: {self._tell(key)}")
            return attempts[0].began
        for call in attempts:
            answered = isinstance(call.outcome, Refusal) and call.outcome.reason not in NOT_OF_STATE
            if answered and all(one.ended < call.began for one in possible):
                self._find(f"{effect} were done, though the last attempt was refused: {self._tell(key)}")
        return possible[0].began

    def _lower_bound_of_effect(self, call: Call, floor: int) -> None:
        """What a request does comes after all that was done before it was first sent."""
        effect = self._made.get((call.caller, call.request_id)) if call.writes else None
        if effect is None:
            return
        possible = candidates(self._attempts[call.caller, call.request_id])
        if possible and possible[0] is call and effect.first <= floor:
            self._find(f"{effect} stand before {floor}, where {self._floor.why} ended before {call} began")

    # -- answers -------------------------------------------------------------------------------------------

    def _refused(self, call: Call, refusal: Refusal, floor: int) -> None:
        if refusal.reason in NOT_OF_STATE:
            return
        judge = JUDGES.get(refusal.reason)
        if judge is None:
            self._find(f"{call}: nothing explains {refusal.reason}: {refusal.message}")
            return
        between = self._between(call, floor)
        point = judge(call, refusal, between, self._made)
        if point is None:
            self._find(f"{call} is true at no point from {between.low} to {between.high}: {self._range(between)}")
            return
        self._floor.stands(call, point)
        if refusal.reason == "CAPACITY_EXCEEDED":
            wrong = counter_offers.untrue(call, refusal, between)
            if wrong is not None:
                self._find(f"{call}: its counter-offer is untrue from {between.low} to {between.high}: {wrong}")

    def _answered(self, call: Call, answer: Message, floor: int) -> None:
        if not call.writes and call.method in WRITES:
            return  # only asked what would be
        position = self.replay.positions.get(answer.position)  # type: ignore[attr-defined]
        if position is None:
            self._find(f"{call}: its position {answer.position} is not in the ledger")  # type: ignore[attr-defined]
            return
        ceiling = self._ceiling.over(call.ended)
        if position > ceiling:
            self._find(
                f"{call}: it had ended before {self.replay.said(ceiling + 1)} was asked for, but stands at {position}"
            )
        if position < floor:
            self._find(f"{call}: it is older than {floor}, where {self._floor.why} ended before it began")
        wrong = self._untrue(call, answer, position, floor)
        if wrong is not None:
            self._find(f"{call}: {wrong}; {self._range(Between(self.replay, min(floor, position), position, 0))}")
        self._floor.stands(call, position)

    def _untrue(self, call: Call, answer: Message, position: int, floor: int) -> str | None:
        match answer:
            case ListContractsResponse():
                return self._pages.untrue(call, answer, position)
            case ListFlavoursResponse() | GetFlavourResponse():
                return self._flavours_untrue(call, answer, position, floor)
        wrong = reads.contract_untrue(self.replay, answer, position)
        if wrong is not None or not call.writes:
            return wrong
        effect = self._made.get((call.caller, call.request_id))
        if effect is None or effect.method != call.method:
            ended = call.method in ENDS and answer.contract.state not in LIVE  # type: ignore[attr-defined]
            return None if ended else "it was answered OK, but nothing in the ledger is its effect"
        if effect.last > position:
            return f"it stands at {position}, before its effect, {effect}"
        return None

    def _flavours_untrue(
        self, call: Call, answer: ListFlavoursResponse | GetFlavourResponse, position: int, floor: int
    ) -> str | None:
        request = call.request
        listed = answer.flavours if isinstance(answer, ListFlavoursResponse) else [answer.flavour]
        low = position if isinstance(answer, GetFlavourResponse) else min(floor, position)
        between = Between(self.replay, low, position, 0)
        selector = request.selector if isinstance(request, ListFlavoursRequest) else None
        asked = selector if selector is not None and selector.HasField("partition") else None
        for one in listed:
            wrong = reads.flavour_untrue(one, reads.window_of(request), asked, between)  # type: ignore[arg-type]
            if wrong is not None:
                return wrong
        if isinstance(request, ListFlavoursRequest) and not getattr(answer, "truncated", False):
            missing = reads.missing_pools(request, {one.flavour.pool_id for one in listed}, between)
            if missing:
                return f"it leaves out {', '.join(missing)}"
        return None

    # -- what is shared ------------------------------------------------------------------------------------

    def _between(self, call: Call, floor: int) -> Between:
        high = max(floor, self._ceiling.over(call.ended))
        return Between(self.replay, floor, high, call.ended_at + self._skew)

    def _tell(self, key: tuple[str, str]) -> str:
        return "; ".join(str(call) for call in self._attempts.get(key, ())) or "nobody asked"

    def _range(self, between: Between) -> str:
        """The first events of a range, for people."""
        some = range(max(between.low, 1), min(between.high, between.low + 8) + 1)
        return "there are " + ", ".join(self.replay.said(sequence) for sequence in some)

    def _count(self, call: Call, told: str) -> None:
        self.result.judged[f"{call.method} {told}"] += 1

    def _find(self, what: str) -> None:
        self.result.findings.append(what)


def fingerprint(request: Message) -> bytes:
    """SHA-256 over what a request says, whatever its id: the ledger keeps it with the effect."""
    body = type(request).FromString(request.SerializeToString())
    body.ClearField("request_id")
    body.ClearField("validate_only")
    return sha256(body.SerializeToString(deterministic=True)).digest()


def _anonymous(replay: Replay) -> str:
    """The principal of connections without TLS."""
    source = replay.envelopes[0].source if replay.envelopes else ""
    return f"spiffe://{source.removeprefix('spiffe://').partition('/')[0]}/local/anonymous"
