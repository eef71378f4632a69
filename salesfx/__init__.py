"""salesfx: sales KPIs from CRM events, right whatever happens."""

__version__ = "0.1.0"
