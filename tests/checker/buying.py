"""Judges the buyer's half of a ledger: what was asked of sellers for which service request, and what became of it.

It reads nothing but events, with arithmetic of its own. Of each ledger it says:

* a purchase is asked for before anything is seen of it, its copy goes forward only, and it ends once;
* a component never has two sources: one live purchase that is not being given up, one hold, or one place on a virtual
  node, after every commit;
* nothing is purchased before every component is held, and nothing is begun for a service request that has ended;
* a VIRTUAL_NODE stands for what the seller's contract says, and is active only while that contract is;
* a component is ready only with active resources, and a service request only when every component is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from google.protobuf.message import Message

from rear.event.v1.allocation_pb2 import AllocationSide
from rear.event.v1.envelope_pb2 import Envelope
from rear.event.v1.pool_pb2 import HoldKind, HoldReleased, PoolReserved
from rear.event.v1.purchase_pb2 import LinkObserved, LinkRequested, LinkUndone, LinkVerb
from rear.event.v1.service_request_pb2 import (
    CandidateChosen,
    ComponentEnded,
    ComponentPlanned,
    ComponentReady,
    IntentAccepted,
    PurchaseDecided,
    RequestCancelled,
    RequestCompleted,
    RequestFailed,
    RequestReady,
)
from rear.v1.audit_service_pb2 import RecordedEvent
from rear.v1.intent_pb2 import Agreement
from tests.checker.lives import ACTIVE, LIVE
from tests.checker.runs import Bought, Run, VirtualNode

STANDING: Final = ("INACTIVE", "ACTIVE")
"""States of an allocation that stands for something."""
BECOMES: Final = {
    "allocation_activated": "ACTIVE",
    "allocation_released": "RELEASED",
    "allocation_failed": "FAILED",
}
ORDER: Final = {"pool": 1, "purchase": 2, "allocation": 3, "request": 4}


class Buying:
    """A ledger's buying half, replayed. `findings` say what is wrong with it; the rest is how it stands in the end."""

    def __init__(self, recorded: Sequence[RecordedEvent]) -> None:
        self.findings: list[str] = []
        self.purchases: dict[str, Bought] = {}
        self.runs: dict[str, Run] = {}
        self.nodes: dict[str, VirtualNode] = {}
        self.local: dict[str, str] = {}
        """Holds of kind LOCAL that stand, with their pools."""
        self._sequence = 0
        self._found: set[str] = set()
        envelopes = enumerate((Envelope.FromString(event.payload) for event in recorded), start=1)
        for _, commit in groupby(envelopes, key=lambda numbered: numbered[1].recorded_time.ToNanoseconds()):
            for self._sequence, envelope in sorted(commit, key=_place_in_commit):
                self._follow(envelope)
            self._one_source_each()
            self._what_is_undone_is_given_back()
            self._virtual_nodes_stand_for_contracts()

    def of(self, service_request_id: str) -> list[Bought]:
        """The purchases for a service request, in the order in which they were asked for."""
        return [bought for bought in self.purchases.values() if bought.service_request_id == service_request_id]

    def nothing_left(self) -> Iterator[str]:
        """What stands in the end though nobody needs it: of service requests that have ended, and of none."""
        over = {key for key, run in self.runs.items() if run.ended}
        for bought in self.purchases.values():
            if bought.live and bought.service_request_id in over and not self._is_shared(bought):
                yield f"contract {bought.contract_id} of a service request that has ended is not given back"
        needed = {hold for key, run in self.runs.items() if key not in over for hold in run.holds.values()}
        for hold in self.local.keys() - needed:
            yield f"hold {hold} in pool {self.local[hold]} is of no component that runs"
        for key, node in self.nodes.items():
            if node.state in STANDING and not self.purchases[node.contract_id].live:
                yield f"allocation {key} is {node.state}, though its contract has ended"

    # -- one event after the other -------------------------------------------------------------------------

    def _follow(self, envelope: Envelope) -> None:
        key, kind = envelope.subject.rpartition(".")[2], envelope.WhichOneof("body")
        body: Message | None = getattr(envelope, kind) if kind else None
        match body:
            case PoolReserved() if body.hold.kind == HoldKind.HOLD_KIND_LOCAL:
                self.local[body.hold.hold_id] = key
            case HoldReleased():
                self.local.pop(body.hold_id, None)
            case LinkRequested():
                self._requested(key, body, envelope.recorded_time.ToNanoseconds())
            case LinkObserved() | LinkUndone():
                self._answered(key, body)
            case IntentAccepted():
                if key in self.runs:
                    self._find(f"service request {key} is accepted twice")
                self.runs[key] = Run(key, body.intent)
            case _ if kind is not None and kind.startswith("allocation_"):
                self._allocation(key, kind, envelope)
            case Message() if key in self.runs:
                self._run_moved(self.runs[key], body)

    def _requested(self, key: str, body: LinkRequested, at: int) -> None:
        verb = LinkVerb.Name(body.verb)
        bought = self.purchases.get(key)
        if body.verb == LinkVerb.LINK_VERB_RESERVE:
            if bought is not None:
                self._find(f"contract {key} is asked for twice")
            run = self.runs.get(body.service_request_id)
            if run is None or body.component not in run.components:
                self._find(f"contract {key} is asked for, for no component of a service request")
            elif run.ended:
                self._find(f"contract {key} is asked for, for a service request that has ended")
            elif body.order.confirm and run.intent.agreement != Agreement.AGREEMENT_DIRECT:
                self._find(f"contract {key} is agreed at once, though its intent reserves first")
            self.purchases[key] = Bought(key, body.service_request_id, body.component, body.order, at, [verb])
            return
        if bought is None:
            self._find(f"{verb} of contract {key}, which nobody asked for")
            return
        if body.verb == LinkVerb.LINK_VERB_PURCHASE:
            self._may_purchase(bought)
        if verb in bought.verbs:
            self._find(f"{verb} of contract {key} is asked for twice")
        bought.verbs.append(verb)

    def _may_purchase(self, bought: Bought) -> None:
        run = self.runs.get(bought.service_request_id)
        if run is None or run.ended:
            self._find(f"contract {bought.contract_id} is purchased, for a service request that has ended")
            return
        missing = [component for component in run.components if not self._has_held(run, component)]
        if missing:
            self._find(f"contract {bought.contract_id} is purchased before {', '.join(missing)} is held")

    def _answered(self, key: str, body: LinkObserved | LinkUndone) -> None:
        bought = self.purchases.get(key)
        if bought is None:
            self._find(f"something is seen of contract {key}, which nobody asked for")
            return
        if isinstance(body, LinkUndone):
            if bought.undone or bought.copy is not None:
                self._find(f"contract {key} is undone, though its seller has it or it was undone before")
            bought.undone = True
            return
        before = bought.copy
        if body.contract.contract_id != key or body.contract.provider_id != bought.order.provider_id:
            self._find(f"contract {key} is copied from another: {body.contract.contract_id}")
        if before is not None and body.contract.revision <= before.revision:
            self._find(f"the copy of contract {key} goes from revision {before.revision} to {body.contract.revision}")
        if before is not None and before.state not in LIVE:
            self._find(f"the copy of contract {key} moves on after its end")
        bought.copy = body.contract

    def _allocation(self, key: str, kind: str, envelope: Envelope) -> None:
        if kind == "allocation_created":
            created = envelope.allocation_created
            if created.side != AllocationSide.ALLOCATION_SIDE_CONSUMER:
                return
            bought = self.purchases.get(created.contract_id)
            if key in self.nodes or bought is None or bought.copy is None:
                self._find(f"allocation {key} stands for no purchase")
                return
            if (created.quantities, list(created.units), created.window) != (
                bought.copy.partition.quantities,
                list(bought.copy.assigned_units),
                bought.copy.window,
            ):
                self._find(f"allocation {key} is not what its contract says")
            self.nodes[key] = VirtualNode(created.contract_id)
        elif (node := self.nodes.get(key)) is not None:
            if node.state == "RELEASED":
                self._find(f"allocation {key} moves on after its release")
            node.state = BECOMES.get(kind, node.state)

    def _run_moved(self, run: Run, body: Message) -> None:
        key = run.request_id
        if run.ended and isinstance(body, ComponentPlanned | CandidateChosen | PurchaseDecided | RequestReady):
            self._find(f"service request {key} goes on after it has ended")
        match body:
            case ComponentPlanned():
                self._planned(run, body)
            case ComponentReady():
                if not self._is_active(run, body.component):
                    self._find(f"component {body.component} of {key} is ready, without active resources")
                run.ready.add(body.component)
            case ComponentEnded():
                run.holds.pop(body.component, None)
                run.places.pop(body.component, None)
            case RequestReady():
                if missing := set(run.components) - run.ready:
                    self._find(f"service request {key} is ready, though {', '.join(sorted(missing))} is not")
                run.all_ready = True
            case RequestFailed() | RequestCancelled() | RequestCompleted():
                if run.ended:
                    self._find(f"service request {key} ends twice: {run.ended}")
                run.ended = type(body).__name__.removeprefix("Request").upper()

    def _planned(self, run: Run, body: ComponentPlanned) -> None:
        name, key = body.component, run.request_id
        if name not in run.components:
            self._find(f"service request {key} has no component {name}")
        run.holds.pop(name, None)
        run.places.pop(name, None)
        match body.WhichOneof("source"):
            case "local":
                if self.local.get(body.local.hold_id) != body.local.pool_id:
                    self._find(f"component {name} of {key} has a place in {body.local.pool_id} without a hold")
                run.holds[name] = body.local.hold_id
            case "virtual_node":
                node = self.nodes.get(body.virtual_node.allocation_id)
                if node is None or node.state != "ACTIVE":
                    self._find(f"component {name} of {key} has a place on a virtual node that is not active")
                run.places[name] = body.virtual_node.allocation_id
            case source:
                if source != "elsewhere":
                    self._find(f"component {name} of {key} is planned without a source")

    # -- after each commit ---------------------------------------------------------------------------------

    def _one_source_each(self) -> None:
        for run in self.runs.values():
            for component in run.components:
                sources = [bought.contract_id for bought in self._bought_for(run, component) if bought.counts]
                sources += [kept[component] for kept in (run.holds, run.places) if component in kept]
                if len(sources) > 1:
                    self._find(f"component {component} of {run.request_id} has several sources: {', '.join(sources)}")

    def _what_is_undone_is_given_back(self) -> None:
        for key, bought in self.purchases.items():
            if bought.undone and bought.live and "LINK_VERB_CANCEL" not in bought.verbs:
                self._find(f"contract {key} is undone, is seen to live, and is not cancelled")

    def _virtual_nodes_stand_for_contracts(self) -> None:
        for key, node in self.nodes.items():
            bought = self.purchases[node.contract_id]
            if node.state == "ACTIVE" and (bought.copy is None or bought.copy.state != ACTIVE):
                self._find(f"allocation {key} is active, and its contract is not")
            if node.state in STANDING and not bought.live:
                self._find(f"allocation {key} is {node.state}, though its contract has ended")

    # -- what is shared ------------------------------------------------------------------------------------

    def _bought_for(self, run: Run, component: str) -> list[Bought]:
        return [bought for bought in self.of(run.request_id) if bought.component == component]

    def _has_held(self, run: Run, component: str) -> bool:
        if run.holds.get(component) in self.local or component in run.places:
            return True
        return any(bought.held for bought in self._bought_for(run, component))

    def _is_active(self, run: Run, component: str) -> bool:
        if run.holds.get(component) in self.local:
            return True
        wanted = {bought.contract_id for bought in self._bought_for(run, component) if bought.counts}
        return any(
            node.state == "ACTIVE" and (node.contract_id in wanted or key == run.places.get(component))
            for key, node in self.nodes.items()
        )

    def _is_shared(self, bought: Bought) -> bool:
        """Whether a component of a service request that runs has a place on its virtual node."""
        used = {place for run in self.runs.values() if not run.ended for place in run.places.values()}
        return any(key in used for key, node in self.nodes.items() if node.contract_id == bought.contract_id)

    def _find(self, what: str) -> None:
        if what not in self._found:
            self._found.add(what)
            self.findings.append(f"event {self._sequence}: {what}")


def _place_in_commit(numbered: tuple[int, Envelope]) -> int:
    """What a commit holds and asks for stands before what it says of service requests, in whatever order it is."""
    return ORDER.get(numbered[1].subject.rsplit(".", 2)[1], 0)
