"""What time alone will do to contracts: one heap, which follows from state and is rebuilt at every start."""

from __future__ import annotations

from collections.abc import Container, Iterable
from heapq import heapify, heappop, heappush

from rear.domain.contract import Contract, next_due
from rear.domain.window import Instant


class Timers:
    """Due instants of contracts. An entry that no longer holds is passed over when its time comes."""

    def __init__(self, due: Iterable[tuple[Instant, str]] = ()) -> None:
        """`due` has the next due instants of contracts, with the contracts' ids."""
        self._heap: list[tuple[Instant, str]] = list(due)
        heapify(self._heap)

    def __len__(self) -> int:
        return len(self._heap)

    def watch(self, contract: Contract) -> bool:
        """Takes the contract's next due instant; tells whether it is now the first of all."""
        due = next_due(contract)
        if due is None:
            return False
        heappush(self._heap, (due, contract.id))
        return self._heap[0] == (due, contract.id)

    def again(self, at: Instant, contract_id: str) -> None:
        """Puts a contract back that was taken out, to come out again at `at`."""
        heappush(self._heap, (at, contract_id))

    def shrink(self, live: Container[str]) -> None:
        """Drops the entries of contracts that are gone, where these are many."""
        self._heap = [entry for entry in self._heap if entry[1] in live]
        heapify(self._heap)

    def next_due(self) -> Instant | None:
        """The first due instant."""
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: Instant, most: int) -> list[str]:
        """Takes out the ids of at most `most` contracts that are due, the longest overdue first."""
        due: list[str] = []
        while self._heap and self._heap[0][0] <= now and len(due) < most:
            due.append(heappop(self._heap)[1])
        return due

    def overdue(self, now: Instant) -> list[str]:
        """The ids of all contracts that are due, the longest overdue first; they stay in the heap.

        Only looks at the part of the heap that is due.
        """
        found: list[tuple[Instant, str]] = []
        look = [0]
        while look:
            index = look.pop()
            if index < len(self._heap) and self._heap[index][0] <= now:
                found.append(self._heap[index])
                look += (2 * index + 1, 2 * index + 2)
        return [contract_id for _, contract_id in sorted(found)]

    def count_overdue(self, now: Instant) -> int:
        """How many entries are due, also those that no longer hold. Other threads may ask."""
        return sum(1 for due, _ in self._heap.copy() if due <= now)
