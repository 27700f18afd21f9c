"""Synthetic pools and reservations, with the shapes of a production cluster's machines and requests.

Machines come in the proportions of the openb cluster trace. A reservation asks a hundredth of one of its
requests, so that the same 1,523 machines hold a hundred times as many of them and none is refused.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from google.protobuf.duration_pb2 import Duration

from rear.domain.flavour import GPU
from rear.v1.contract_service_pb2 import ReserveFlavourRequest
from rear.v1.discovery_service_pb2 import ListFlavoursRequest
from rear.v1.quantities_pb2 import Partition

MIB: Final = 1024**2
SEED: Final = 20_240_501
HOT_POOL: Final = "hot"

MACHINES: Final = (
    (549, 96_000, 393_216, 8, "G2"),
    (387, 104_000, 524_288, 2, "T4"),
    (129, 32_000, 262_144, 0, ""),
    (107, 16_000, 122_880, 2, "P100"),
    (60, 96_000, 524_288, 0, ""),
    (39, 128_000, 786_432, 8, "G3"),
    (52, 96_000, 393_216, 0, ""),
    (35, 32_000, 131_072, 4, "V100M16"),
    (45, 32_000, 131_072, 0, ""),
    (30, 64_000, 524_288, 0, ""),
    (22, 64_000, 262_144, 2, "P100"),
    (21, 96_000, 786_432, 8, "V100M32"),
    (28, 104_000, 524_288, 0, ""),
    (19, 8_000, 32_768, 1, "V100M16"),
)
"""How many of 1,523 machines have these millicores, MiB, GPUs and model."""

REQUESTS: Final = (
    (1_047, 3_152, 5_600, 810),
    (1_391, 11_300, 49_152, 1_000),
    (388, 11_908, 47_104, 470),
    (364, 12_500, 57_344, 0),
    (360, 8_000, 30_517, 470),
    (255, 15_708, 58_368, 1_000),
    (237, 11_908, 47_104, 650),
    (163, 8_000, 30_517, 0),
    (216, 14_200, 51_200, 0),
    (111, 4_000, 22_888, 320),
    (84, 4_000, 30_517, 230),
)
"""How many requests ask these millicores, MiB and millis of one GPU."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One pool of the inventory."""

    pool_id: str
    cpu_millicores: int
    memory_mib: int
    gpus: int
    model: str

    @property
    def flavour_id(self) -> str:
        """Its first flavour, which is sold for as long as the terms stay."""
        return f"{self.pool_id}-1"


def machines(count: int) -> list[Machine]:
    """`count` machines in the trace's proportions, shuffled, the same every time."""
    rng = random.Random(SEED)
    kinds = [entry[1:] for entry in MACHINES for _ in range(entry[0])]
    rng.shuffle(kinds)
    return [Machine(f"machine-{n:04}", *kinds[n % len(kinds)]) for n in range(count)]


def hot_machine(holds: int) -> Machine:
    """One large machine that takes this many reservations at once, with no more GPUs than the others have."""
    if holds > 8_000:
        raise ValueError(f"{holds} reservations of a thousandth of a GPU do not fit on 8 GPUs")
    return Machine(HOT_POOL, holds * 200, holds * 600, 8, "G2")


def write_inventory(directory: Path, pools: list[Machine]) -> Path:
    """Writes the machines as a CSV inventory into a new directory."""
    directory.mkdir(parents=True)
    rows = ["sn,cpu_milli,memory_mib,gpu,model"]
    rows += [f"{m.pool_id},{m.cpu_millicores},{m.memory_mib},{m.gpus},{m.model}" for m in pools]
    path = directory / "pools.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


class Buyer:
    """Makes requests, each with a request id of its own, round and round over the pools."""

    def __init__(self, pools: list[Machine], seed: int = SEED) -> None:
        self._rng = random.Random(seed)
        self._pools = self._endless(pools)
        self._kinds = [entry[1:] for entry in REQUESTS]
        self._weights = [entry[0] for entry in REQUESTS]

    def reservations(self, count: int) -> list[ReserveFlavourRequest]:
        """Reservations for the default window that are held for an hour."""
        return [self._reservation(next(self._pools)) for _ in range(count)]

    def questions(self, count: int) -> list[ListFlavoursRequest]:
        """Questions for ten flavours on which a whole recorded request fits in a window of tomorrow."""
        return [self._question() for _ in range(count)]

    def _endless(self, pools: list[Machine]) -> Iterator[Machine]:
        while True:
            yield from self._rng.sample(pools, len(pools))

    def _reservation(self, machine: Machine) -> ReserveFlavourRequest:
        cpu, memory, gpu = self._rng.choices(self._kinds, self._weights)[0]
        if machine.pool_id == HOT_POOL:
            gpu = min(gpu, 100)
        return ReserveFlavourRequest(
            flavour_id=machine.flavour_id,
            partition=_partition(cpu // 100, memory // 100, gpu // 100 if machine.gpus else 0),
            ttp=Duration(seconds=3_600),
            request_id=self._id(),
        )

    def _question(self) -> ListFlavoursRequest:
        with_gpu = [kind for kind in self._kinds if kind[2]]
        question = ListFlavoursRequest(limit=10)
        question.selector.partition.CopyFrom(_partition(*self._rng.choice(with_gpu)))
        window = question.selector.window
        window.start.GetCurrentTime()
        window.start.seconds += 3_600 * self._rng.randint(1, 12)
        window.end.seconds = window.start.seconds + 3_600 * self._rng.randint(4, 48)
        return question

    def _id(self) -> str:
        return str(UUID(int=self._rng.getrandbits(128), version=4))


def _partition(cpu_millicores: int, memory_mib: int, gpu_millis: int) -> Partition:
    partition = Partition()
    partition.quantities.cpu_millicores = cpu_millicores
    partition.quantities.memory_bytes = memory_mib * MIB
    if gpu_millis:
        partition.units.add(unit_class=GPU, count=1, millis_each=gpu_millis)
    return partition
