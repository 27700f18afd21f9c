"""Which device serves which request, where one device may serve several but only one at a time."""

from __future__ import annotations

from collections.abc import Sequence


def assign(servable: Sequence[int], counts: Sequence[int]) -> list[list[int]]:
    """For each request the positions of the devices that serve it, as many in all as can be.

    `servable` holds one bit set for each device, in order of preference: bit `r` is set where the device may
    serve request `r`, which wants `counts[r]` different devices. The sets of devices that can serve together
    form a matroid, so taking each device that still can (moving earlier ones to other requests) is exact:
    no other choice serves more, or serves as much with more preferred devices.
    """
    serving: list[list[int]] = [[] for _ in counts]
    missing = sum(counts)
    hopeless = {0}
    for device, requests in enumerate(servable):
        if missing == 0:
            break
        if requests in hopeless:
            continue
        if _take(device, servable, counts, serving, set()):
            missing -= 1
        else:
            hopeless.add(requests)  # what cannot be added to a set cannot be added to a larger one
    return serving


def _take(
    device: int, servable: Sequence[int], counts: Sequence[int], serving: list[list[int]], tried: set[int]
) -> bool:
    """Put `device` to use along an augmenting path; the other devices all stay in use."""
    for request, count in enumerate(counts):
        if not servable[device] >> request & 1 or request in tried:
            continue
        tried.add(request)
        if len(serving[request]) < count:
            serving[request].append(device)
            return True
        for position, other in enumerate(serving[request]):
            if _take(other, servable, counts, serving, tried):
                serving[request][position] = device
                return True
    return False
