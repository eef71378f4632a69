"""What is withdrawn, once more: by the list in the definitions, without the rule that the worker applies."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from salesfx.definitions import Definitions

KIND_OF_FIELD = {"lead_id": "lead", "account_id": "account", "salesperson": "salesperson"}
NEED = "forgotten"


def forget(fields: Mapping[str, Any], definitions: Definitions) -> dict[str, Any]:
    """Give an event's fields with tokens in the place of what is withdrawn, and without the text of such a quote's need."""
    withdrawn = definitions.forgotten
    if not withdrawn:
        return dict(fields)
    if not withdrawn.entries:
        raise ValueError("the list of what is withdrawn is not there")
    tokens = {(str(entry.kind), entry.digest): entry.token for entry in withdrawn.entries}
    result = dict(fields)
    customer_gone = False
    for field, kind in KIND_OF_FIELD.items():
        if fields.get(field) is None:
            continue
        message = kind.encode() + b"\x00" + fields[field].encode("utf-8")
        digest = hmac.new(bytes.fromhex(withdrawn.key), message, hashlib.sha256).hexdigest()
        if (kind, digest) in tokens:
            result[field] = tokens[kind, digest]
            customer_gone = customer_gone or field != "salesperson"
    if customer_gone and result.get("need") is not None:
        result["need"] = NEED
    return result
