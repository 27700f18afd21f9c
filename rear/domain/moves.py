"""The moves of a service request: what can be the next thing that is to be done for it (workflow steps 5 to 28)."""

from __future__ import annotations

from rear.domain.answers import HeardRefusal
from rear.domain.value import value
from rear.domain.window import Instant


@value
class Look:
    """Look for a component's resources on this node (step 6), and settle for a provider where there is nothing."""

    component: str


@value
class Refuse:
    """Give up an offer. `cancel` tells whether something may still come of it, which has to be cancelled."""

    component: str
    contract_id: str
    refusal: HeardRefusal
    cancel: bool


@value
class Buy:
    """Everything is held: purchase what is with providers (step 22)."""

    contract_ids: tuple[str, ...]


@value
class MarkReady:
    """A component's resources are active (step 28)."""

    component: str


@value
class AllReady:
    """All components are ready (step 28)."""


@value
class Cancel:
    """End a contract that is given back."""

    component: str
    contract_id: str
    reason: str


@value
class End:
    """A component has nothing any more once this is done: its hold is released, or the virtual node that it left."""

    component: str
    reason: str


@value
class Fail:
    """The request cannot be fulfilled. `component` is the one because of which."""

    component: str
    reason: str
    message: str


@value
class Complete:
    """The windows of all components have ended."""


@value
class Search:
    """Nothing to decide; providers have to be found for these components."""

    components: tuple[str, ...]


@value
class Wait:
    """Nothing to do until something happens, or until then."""

    until: Instant | None


Move = Look | Refuse | Buy | MarkReady | AllReady | Cancel | End | Fail | Complete | Search | Wait
