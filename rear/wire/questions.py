"""What is asked of others: selectors and orders as messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rear.domain.quantities import CORE_KINDS
from rear.domain.selector import FlavourOrder, NumberFilter, Selector, SetFilter
from rear.domain.window import AskedWindow
from rear.v1 import discovery_service_pb2, selector_pb2
from rear.wire.selectors import FLAVOUR_ORDERS, write_location, write_text
from rear.wire.terms import FLAVOUR_TYPE_NUMBERS
from rear.wire.values import write_asked_window, write_duration, write_money, write_partition

FLAVOUR_ORDER_NUMBERS: Final[Mapping[FlavourOrder, discovery_service_pb2.FlavourOrder.ValueType]] = {
    order: discovery_service_pb2.FlavourOrder.ValueType(number) for number, order in FLAVOUR_ORDERS.items()
}


def write_selector(message: selector_pb2.Selector, selector: Selector) -> None:
    """Every filter that is set; `rear.wire.selectors.selector_from` reads the same selector."""
    message.types.extend(sorted(FLAVOUR_TYPE_NUMBERS[type_] for type_ in selector.types))
    for kind, wanted in selector.quantities:
        filters = message.quantities
        _write_number(getattr(filters, kind) if kind in CORE_KINDS else filters.extended[kind], wanted)
    if selector.partition is not None:
        write_partition(message.partition, selector.partition)
    if selector.window != AskedWindow():
        write_asked_window(message.window, selector.window)
    if selector.architecture is not None:
        write_text(message.architecture, selector.architecture)
    if selector.gpu_model is not None:
        write_text(message.gpu_model, selector.gpu_model)
    if selector.location is not None:
        write_location(message.location, selector.location)
    if selector.max_price is not None:
        write_money(message.max_price, selector.max_price)
    if selector.max_latency is not None:
        message.max_latency.SetInParent()
        write_duration(message.max_latency, selector.max_latency)
    if selector.security_standards is not None:
        _write_set(message.security_standards, selector.security_standards)
    if selector.carbon_grams_per_hour is not None:
        _write_number(message.carbon_grams_per_hour, selector.carbon_grams_per_hour)
    for name, text in selector.tags:
        write_text(message.tags[name], text)
    if selector.owner_domain is not None:
        write_text(message.owner_domain, selector.owner_domain)
    message.pool_ids.extend(sorted(selector.pool_ids))
    message.provider_ids.extend(sorted(selector.provider_ids))


def _write_set(message: selector_pb2.SetFilter, wanted: SetFilter) -> None:
    message.SetInParent()
    message.all_of.extend(sorted(wanted.all_of))
    message.any_of.extend(sorted(wanted.any_of))


def _write_number(message: selector_pb2.Int64Filter, wanted: NumberFilter) -> None:
    message.SetInParent()
    if wanted.exact is not None:
        message.exact = wanted.exact
    if wanted.min is not None:
        message.min = wanted.min
    if wanted.max is not None:
        message.max = wanted.max
    message.any_of.extend(sorted(wanted.any_of))
