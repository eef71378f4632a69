"""Why an event cannot be used."""

from enum import StrEnum


class Reason(StrEnum):
    """The reasons for which an event goes to the dead-letter topic; docs/dead-letters.md has the remedy of each."""

    TOO_LARGE = "too_large"
    NO_VALUE = "no_value"
    NOT_JSON = "not_json"
    INVALID_ENVELOPE = "invalid_envelope"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    NO_RATE = "no_rate"
    TOO_MANY_ENTITIES = "too_many_entities"


class Refused(Exception):  # noqa: N818 - a verdict on an event, not a fault of ours
    """One event cannot be used; its neighbours can.

    Attributes:
        reason: Slug for counting and for the remedy.
        detail: What is wrong and where, in words.

    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
