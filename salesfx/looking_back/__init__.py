"""What the log knew at an earlier time, and what has changed a month since."""

from salesfx.looking_back.arrivals import UndatedLogError
from salesfx.looking_back.known import Known, known_at
from salesfx.looking_back.restated import Restated, Restating, restated

__all__ = ["Known", "Restated", "Restating", "UndatedLogError", "known_at", "restated"]
