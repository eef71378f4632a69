"""What is withdrawn, once more: by the list in the definitions, without the rule that the worker applies."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from salesfx.definitions import Definitions

KIND_OF_FIELD = {"lead_id": "lead", "account_id": "account", "salesperson": "salesperson"}
NEED = "forgotten"


class Tokens:
    """What stands for what is withdrawn by one list, by kind and digest."""

    def __init__(self, definitions: Definitions) -> None:
        self.withdrawn = definitions.forgotten
        if self.withdrawn and not self.withdrawn.entries:
            raise ValueError("the list of what is withdrawn is not there")
        self.key = bytes.fromhex(self.withdrawn.key)
        self.known = {(str(entry.kind), entry.digest): entry.token for entry in self.withdrawn.entries}

    def find(self, kind: str, value: str) -> str | None:
        """Give what stands for a value; None where it is not withdrawn."""
        message = kind.encode() + b"\x00" + value.encode("utf-8")
        return self.known.get((kind, hmac.new(self.key, message, hashlib.sha256).hexdigest()))


_last: list[Tokens] = []
"""Of the list that was asked for last: a log is read under one."""


def forget(fields: Mapping[str, Any], definitions: Definitions) -> dict[str, Any]:
    """Give an event's fields with tokens in the place of what is withdrawn, and without the text of such a quote's need."""
    result = dict(fields)
    if not definitions.forgotten:
        return result
    if not _last or _last[0].withdrawn is not definitions.forgotten:
        _last[:] = [Tokens(definitions)]
    for field, kind in KIND_OF_FIELD.items():
        token = None if fields.get(field) is None else _last[0].find(kind, fields[field])
        if token is not None:
            result[field] = token
            if kind != "salesperson" and result.get("need") is not None:
                result["need"] = NEED
    return result
