"""salesfx: sales KPIs from CRM events, right whatever happens.

For Python code in or beside a CRM:

    from salesfx import LeadCreated, Publisher
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from salesfx.errors import SalesfxError
    from salesfx.events import DealClosed, LeadCreated, QuoteSent
    from salesfx.publisher import DeliveryError, InvalidEventError, Publisher
    from salesfx.settings import Settings, load_settings

__version__ = "0.1.0"

_HOMES = {
    "DealClosed": "salesfx.events",
    "DeliveryError": "salesfx.publisher",
    "InvalidEventError": "salesfx.publisher",
    "LeadCreated": "salesfx.events",
    "Publisher": "salesfx.publisher",
    "QuoteSent": "salesfx.events",
    "SalesfxError": "salesfx.errors",
    "Settings": "salesfx.settings",
    "load_settings": "salesfx.settings",
}
"""Imported when they are first asked for, so that the domain and the command line do not load Kafka's client."""

__all__ = [
    "DealClosed",
    "DeliveryError",
    "InvalidEventError",
    "LeadCreated",
    "Publisher",
    "QuoteSent",
    "SalesfxError",
    "Settings",
    "load_settings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'salesfx' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
