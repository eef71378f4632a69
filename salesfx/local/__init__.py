"""A real Kafka and a real Redis on this machine, with nothing installed beside Python packages."""

from salesfx.local.errors import LocalServerError, LocalSetupError
from salesfx.local.server import LocalServer
from salesfx.local.servers import LocalServers

__all__ = ["LocalServer", "LocalServerError", "LocalServers", "LocalSetupError"]
