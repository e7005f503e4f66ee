"""What the configuration may say of one store beyond its place: locks, prices, bandwidth."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from edurise_backup.model.object_lock import LONGEST_DAYS
from edurise_backup.model.secrets import PasswordSettings

_Price = Annotated[float, msgspec.Meta(ge=0)]
_TIME = r"^([01]\d|2[0-3]):[0-5]\d\Z"


class PriceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the provider asks, in one currency; without a currency nothing is priced."""

    currency: Annotated[str, msgspec.Meta(max_length=8)] = ""
    writes_per_1000: _Price = 0.0
    """Of requests that write or list."""
    reads_per_1000: _Price = 0.0
    storage_gib_month: _Price = 0.0
    egress_gib: _Price = 0.0


class BandwidthSettings(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"begin": "from"}
):
    """How much may be transferred in a part of the day; one that ends at or before its begin ends on the next day."""

    begin: Annotated[str, msgspec.Meta(pattern=_TIME)]
    to: Annotated[str, msgspec.Meta(pattern=_TIME)]
    upload: str = ""
    """Each second, e.g. `2MiB`; empty: no limit."""
    download: str = ""


class StoreSettings(PasswordSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is said of any store; a copy's table has the same keys."""

    lock_mode: Literal["off", "governance", "compliance"] = "off"
    lock_days: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_DAYS)] = 0
    append_only: bool = False
    """This host's credential is meant not to delete, but for locks."""
    bandwidth: tuple[BandwidthSettings, ...] = ()
    bandwidth_zone: str = "UTC"
    prices: PriceSettings = PriceSettings()
