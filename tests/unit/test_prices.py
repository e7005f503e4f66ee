"""What requests, storage and egress cost, by the operator's own prices."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as some

from edurise_backup.model.prices import GIB, Demand, demand_of, estimate_month, price_of
from edurise_backup.model.store_settings import PriceSettings
from edurise_backup.model.traffic import Count, Traffic

PRICES = PriceSettings(currency="EUR", writes_per_1000=5.0, reads_per_1000=0.4, storage_gib_month=0.02, egress_gib=0.09)
NOTHING = PriceSettings()


def test_requests_are_sorted_as_providers_price_them() -> None:
    traffic = Traffic(
        {
            "PutObject": Count(10, 1000, 0),
            "ListObjectsV2": Count(3, 0, 50),
            "UploadPart": Count(2, 99, 0),
            "GetObject": Count(7, 0, 700),
            "HeadObject": Count(5),
            "DeleteObject": Count(100),
            "AbortMultipartUpload": Count(9),
        }
    )
    assert demand_of(traffic) == Demand(writes=15, reads=12, received=750)


def test_a_demand_has_its_price_with_its_parts() -> None:
    price = price_of(PRICES, Demand(writes=2000, reads=10_000, received=10 * GIB), stored=100 * GIB)
    assert price is not None
    assert (price.requests, price.egress, price.storage) == pytest.approx((14.0, 0.9, 2.0))
    assert price.total == pytest.approx(16.9)
    assert str(price) == "16.90 EUR"


def test_small_amounts_are_not_shown_as_nothing() -> None:
    assert str(price_of(PRICES, Demand(reads=30))) == "0.0120 EUR"
    assert str(price_of(PRICES, Demand())) == "0.00 EUR"


def test_without_a_currency_nothing_is_priced() -> None:
    assert price_of(NOTHING, Demand(1, 1, 1), stored=GIB) is None
    assert estimate_month(NOTHING, Demand(1, 1, 1), stored=GIB, now=datetime(2026, 11, 27, tzinfo=UTC)).price is None


def test_a_month_goes_on_as_it_began() -> None:
    now = datetime(2026, 11, 16, tzinfo=UTC)  # half of November
    month = estimate_month(PRICES, Demand(writes=100, reads=10, received=GIB), stored=50 * GIB, now=now)
    assert month.demand == Demand(200, 20, 2 * GIB)
    assert month.price is not None
    assert month.price.storage == pytest.approx(1.0)


@pytest.mark.parametrize("day", [(2026, 11, 1), (2026, 12, 31), (2024, 2, 29)])
def test_the_first_hour_of_a_month_does_not_make_a_month_of_hours(day: tuple[int, int, int]) -> None:
    now = datetime(*day, 1, tzinfo=UTC)
    assert estimate_month(PRICES, Demand(writes=10), stored=0, now=now).demand.writes <= 10 * 31


@given(some.lists(some.tuples(some.integers(0, 10**6), some.integers(0, 10**6), some.integers(0, 10**12))))
def test_prices_add_up(parts: list[tuple[int, int, int]]) -> None:
    demands = [Demand(*part) for part in parts]
    whole = price_of(PRICES, sum(demands, Demand()))
    assert whole is not None
    assert whole.total == pytest.approx(sum((price_of(PRICES, one) or whole).total for one in demands))
