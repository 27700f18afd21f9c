"""The rules of intents: what no intent may be, whatever form it came in (workflow step 2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from re import compile as pattern
from typing import Final

from rear.domain.intent import Component, Constraints, Intent, Workload
from rear.domain.partition import check_well_formed, field_of
from rear.domain.refusals import InvalidField
from rear.domain.selector import LocationFilter, Vicinity
from rear.domain.window import Duration, Instant

MAX_COMPONENTS: Final = 90
MAX_ENTRIES: Final = 64
"""The most that a list or a map within a component may have."""

MAX_TEXT: Final = 256
"""The most characters of a text within the constraints."""

MAX_ARGUMENT: Final = 4_096
"""The most characters of one argument of a command, and of one value of an environment."""

MAX_PORT: Final = 65_535

_is_name: Final = pattern(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?").fullmatch
_is_currency: Final = pattern(r"[A-Z]{3}").fullmatch
_is_country: Final = pattern(r"[A-Z]{2}").fullmatch
_is_variable: Final = pattern(r"[A-Za-z_][A-Za-z0-9_]{0,127}").fullmatch


def check(intent: Intent, parent: str = "") -> None:
    """Refuses an intent that nobody could mean, whatever the time. Raises InvalidField with the path below `parent`."""
    prefix = f"{parent}." if parent else ""
    _check_name(intent.name, f"{prefix}name")
    components = intent.components
    if not components:
        raise InvalidField(f"{prefix}components", "is empty; an intent has at least one component")
    if len(components) > MAX_COMPONENTS:
        raise InvalidField(f"{prefix}components", f"has {len(components)} components; {MAX_COMPONENTS} at most")
    paths = {at: f"{prefix}components[{at}]" for at in range(len(components))}
    for at, component in enumerate(components):
        _check_name(component.name, f"{paths[at]}.name")
    _check_different([component.name for component in components], [f"{paths[at]}.name" for at in paths])
    for at, component in enumerate(components):
        _check_component(component, paths[at])
    _check_dependencies(components, paths)


def check_times(intent: Intent, now: Instant, skew: Duration, parent: str = "") -> None:
    """Refuses what lies in the past at `now`, clocks that differ by `skew` allowed for. Raises InvalidField."""
    prefix = f"{parent}." if parent else ""
    for at, component in enumerate(intent.components):
        path = f"{prefix}components[{at}]"
        window = component.window
        if window.start is not None and window.start < now - skew:
            raise InvalidField(f"{path}.window.start", "lies in the past; leave it out to begin now")
        if window.end is not None and window.end <= now:
            raise InvalidField(f"{path}.window.end", "lies in the past")
        if component.latest_start is not None and component.latest_start < now - skew:
            raise InvalidField(f"{path}.latest_start", "lies in the past")


def _check_component(component: Component, path: str) -> None:
    for kind, amount in component.partition.quantities.items():
        if amount == 0:
            raise InvalidField(
                field_of(kind, f"{path}.partition.quantities"), "is 0; ask for more than nothing, or leave it out"
            )
    check_well_formed(component.partition, f"{path}.partition")
    for at, unit in enumerate(component.partition.units):
        _check_text(unit.unit_class, f"{path}.partition.units[{at}].unit_class")
        _check_described(unit.attributes, f"{path}.partition.units[{at}].attributes")
    for kind, amount in component.minimum.items():
        _check_minimum(kind, amount, component, f"{path}.minimum")
    _check_window(component, path)
    _check_constraints(component.constraints, f"{path}.constraints")
    _check_workload(component.workload, f"{path}.workload")


def _check_minimum(kind: str, amount: int, component: Component, parent: str) -> None:
    path = field_of(kind, parent)
    asked = component.partition.quantities.get(kind)
    if asked is None:
        raise InvalidField(path, "is a kind that the component does not ask for; leave it out")
    if amount == 0:
        raise InvalidField(path, "is 0; give the least that will do, or leave it out where all of it is needed")
    if not 0 < amount <= asked:
        raise InvalidField(path, "must be above 0, and no more than the quantity that is asked for")


def _check_window(component: Component, path: str) -> None:
    window = component.window
    if window.duration is not None:
        if window.end is not None:
            raise InvalidField(f"{path}.window.duration", "does not go with an end: give one of them")
        if window.duration <= 0:
            raise InvalidField(f"{path}.window.duration", "must be longer than nothing")
    if window.start is not None and window.end is not None and window.end <= window.start:
        raise InvalidField(f"{path}.window.end", "must come after the start: the window is empty or turned round")
    if component.latest_start is not None and window.start is not None and component.latest_start < window.start:
        raise InvalidField(f"{path}.latest_start", "lies before the window's start")


def _check_constraints(constraints: Constraints, path: str) -> None:
    for name in ("architectures", "gpu_models", "security_standards"):
        _check_texts(getattr(constraints, name), f"{path}.{name}")
    _check_described(constraints.tags, f"{path}.tags")
    if (price := constraints.max_price) is not None:
        if not _is_currency(price.currency):
            raise InvalidField(f"{path}.max_price.currency_code", "must be three capital letters, such as EUR")
        if price.nanos < 0:
            raise InvalidField(f"{path}.max_price", "must not be negative")
    if constraints.max_latency is not None and constraints.max_latency < 0:
        raise InvalidField(f"{path}.max_latency", "must not be negative")
    if constraints.location is not None:
        _check_location(constraints.location, f"{path}.location")


def _check_location(location: LocationFilter, path: str) -> None:
    for name, place in (("country", location.country), ("city", location.city)):
        if place is not None:
            exact = () if place.exact is None else (place.exact,)
            _check_texts((*exact, *sorted(place.any_of - {*exact})), f"{path}.{name}")
    if location.country is not None:
        for country in (location.country.exact, *sorted(location.country.any_of)):
            if country is not None and not _is_country(country):
                raise InvalidField(f"{path}.country", f"is {country!r}; it must be two capital letters, such as DE")
    if location.vicinity is not None:
        _check_vicinity(location.vicinity, f"{path}.vicinity")


def _check_vicinity(vicinity: Vicinity, path: str) -> None:
    latitude, longitude = vicinity.centre
    if not -90.0 <= latitude <= 90.0:
        raise InvalidField(f"{path}.centre.latitude", f"is {latitude}; it must be from -90 to 90 degrees")
    if not -180.0 <= longitude <= 180.0:
        raise InvalidField(f"{path}.centre.longitude", f"is {longitude}; it must be from -180 to 180 degrees")
    if vicinity.radius_metres < 0:
        raise InvalidField(f"{path}.radius_metres", f"is {vicinity.radius_metres}; it must not be negative")


def _check_workload(workload: Workload, path: str) -> None:
    command = workload.command
    if not command or not command[0]:
        raise InvalidField(f"{path}.command", "is empty; name the program to run and its arguments")
    _check_size(command, f"{path}.command")
    for at, argument in enumerate(command):
        _check_argument(argument, f"{path}.command[{at}]")
    _check_size(workload.environment, f"{path}.environment")
    for name, text in workload.environment:
        if not _is_variable(name):
            raise InvalidField(
                f"{path}.environment[{name[:MAX_TEXT]}]",
                "is not the name of a variable: 1 to 128 of letters, digits and '_', not beginning with a digit",
            )
        _check_argument(text, f"{path}.environment[{name}]")
    _check_size(workload.ports, f"{path}.ports")
    for at, port in enumerate(workload.ports):
        _check_name(port.name, f"{path}.ports[{at}].name")
        if not 1 <= port.number <= MAX_PORT:
            raise InvalidField(f"{path}.ports[{at}].number", f"is {port.number}; it must be from 1 to {MAX_PORT}")
    _check_different([port.name for port in workload.ports], [f"{path}.ports[{n}].name" for n in range(MAX_ENTRIES)])
    _check_different(
        [str(port.number) for port in workload.ports], [f"{path}.ports[{n}].number" for n in range(MAX_ENTRIES)]
    )


def _check_dependencies(components: Sequence[Component], paths: Mapping[int, str]) -> None:
    needed = {component.name: component.depends_on for component in components}
    for at, component in enumerate(components):
        for n, name in enumerate(component.depends_on):
            if name not in needed:
                raise InvalidField(f"{paths[at]}.depends_on[{n}]", f"is {name[:MAX_TEXT]!r}, which no component is")
        _check_different(
            component.depends_on, [f"{paths[at]}.depends_on[{n}]" for n in range(len(component.depends_on))]
        )
    for at, component in enumerate(components):
        if cycle := _cycle(component.name, needed):
            raise InvalidField(f"{paths[at]}.depends_on", f"goes in a circle: {' -> '.join(cycle)}")


def _cycle(start: str, needed: Mapping[str, Sequence[str]]) -> list[str]:
    """The shortest way from a component back to itself; empty where there is none."""
    came_from: dict[str, str] = {}
    reached = [start]
    for name in reached:
        for other in needed[name]:
            if other == start:
                way = [start, name]
                while way[-1] != start:
                    way.append(came_from[way[-1]])
                return way[::-1]
            if other not in came_from:
                came_from[other] = name
                reached.append(other)
    return []


def _check_name(name: str, path: str) -> None:
    if not name:
        raise InvalidField(path, "is required")
    if not _is_name(name):
        raise InvalidField(
            path,
            f"is {name[:MAX_TEXT]!r}; it must be 1 to 63 of a-z, 0-9 and '-', beginning and ending with none of '-'",
        )


def _check_different(texts: Iterable[str], paths: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for text, path in zip(texts, paths, strict=False):
        if text in seen:
            raise InvalidField(path, f"is {text!r}, as {seen[text]} is; they must be different")
        seen[text] = path


def _check_texts(texts: Sequence[str], path: str) -> None:
    _check_size(texts, path)
    for at, text in enumerate(texts):
        _check_text(text, f"{path}[{at}]")
    _check_different(texts, [f"{path}[{at}]" for at in range(len(texts))])


def _check_described(texts: Sequence[tuple[str, str]], path: str) -> None:
    """Tags or attributes: names and what is said under them."""
    _check_size(texts, path)
    for name, text in texts:
        _check_text(name, f"{path}[{name[:MAX_TEXT]}]")
        _check_text(text, f"{path}[{name}]")


def _check_text(text: str, path: str) -> None:
    if not text:
        raise InvalidField(path, "is empty")
    if len(text) > MAX_TEXT:
        raise InvalidField(path, f"has {len(text)} characters; {MAX_TEXT} at most")
    if not text.isprintable():
        raise InvalidField(path, "must be one line without control characters")


def _check_argument(text: str, path: str) -> None:
    if len(text) > MAX_ARGUMENT:
        raise InvalidField(path, f"has {len(text)} characters; {MAX_ARGUMENT} at most")
    if "\0" in text:
        raise InvalidField(path, "holds a NUL character, which no program can be given")


def _check_size(entries: Sequence[object], path: str) -> None:
    if len(entries) > MAX_ENTRIES:
        raise InvalidField(path, f"has {len(entries)} entries; {MAX_ENTRIES} at most")
