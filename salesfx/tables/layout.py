"""Where everything lies in Redis. docs/redis-layout.md is for people who read it directly.

All keys share one hash tag, so that one script can touch them, and a generation, so that a rebuild can grow beside the
live tables:

    {salesfx}:current                     the generation that readers show
    {salesfx}:generations                 hash: number -> JSON: state, when it was begun, by what
    {salesfx}:1:meta                      hash: fingerprint and definitions that the tables are made under
    {salesfx}:1:log                       hash: Kafka's cluster id and topic ids that the offsets belong to
    {salesfx}:1:offsets                   hash: topic:partition -> next offset
    {salesfx}:1:counters                  hash: events processed and rejected, batches
    {salesfx}:1:marks                     hash: times of the last event and the last commit
    {salesfx}:1:months                    set of the months that have a table
    {salesfx}:1:month:2026-10             hash: metric|dimension -> integer
    {salesfx}:1:days:2026-10              hash: day|metric|dimension -> integer
    {salesfx}:1:hours:2026-10             hash: dayThour|metric|dimension -> integer
    {salesfx}:1:builder                   while `salesfx rebuild` makes the generation: a token of it, which expires
    {salesfx}:1:journals                  hash: token of a journal, kept for somebody who looks at one instant -> bytes
    {salesfx}:1:journal:TOKEN             list: a head, then ref, content before, ref, content before, ...
    {salesfx}:1:lead:ID, quote:ID, deal:ID, account:ID, lead-of-quote:ID, lead-of-deal:ID
                                          records: 8 random bytes for the commit, then MessagePack
"""

from collections.abc import Iterable, Mapping

from salesfx.kpi import Cells

FIRST_GENERATION = "1"
VERSION_BYTES = 8
"""In front of every record: random for each commit attempt, since a counter is fooled after a failover."""
LOG_START = "log_start:"
"""In the log hash, before a partition's field: the offset from which it is counted, where events before it were gone."""
MONTH, DAYS, HOURS = "month:", "days:", "hours:"


class Layout:
    """The keys of one generation."""

    def __init__(self, namespace: str, generation: str) -> None:
        self.generation = generation
        self.prefix = f"{{{namespace}}}:{generation}:"
        self.meta = self.prefix + "meta"
        self.log = self.prefix + "log"
        self.offsets = self.prefix + "offsets"
        self.counters = self.prefix + "counters"
        self.marks = self.prefix + "marks"
        self.months = self.prefix + "months"
        self.journals = self.prefix + "journals"
        self.builder = self.prefix + "builder"

    def record(self, ref: str) -> str:
        """Name the key of a record."""
        return self.prefix + ref

    def table(self, name: str) -> str:
        """Name the key of a table, by its name like month:2026-10."""
        return self.prefix + name

    def journal(self, token: str) -> str:
        """Name the key of a journal."""
        return f"{self.prefix}journal:{token}"

    def ref(self, key: str) -> str:
        """Name the record whose key it is."""
        return key.removeprefix(self.prefix)


def current_key(namespace: str) -> str:
    """Name the key that tells the generation that readers show."""
    return f"{{{namespace}}}:current"


def generations_key(namespace: str) -> str:
    """Name the key of the register of all generations that there were."""
    return f"{{{namespace}}}:generations"


def partition_field(topic: str, partition: int) -> str:
    """Name the field of a partition in the offsets."""
    return f"{topic}:{partition}"


def by_table(cells: Cells) -> dict[str, dict[str, int]]:
    """Distribute cells over the tables that hold them.

    Returns:
        What is to be added, by table name and field, without zeros.

    """
    tables: dict[str, dict[str, int]] = {}
    for (when, field), number in cells.items():
        month, part = when[:7], when[8:]
        if len(part) > 2:  # noqa: PLR2004 - DDTHH, an hour
            tables.setdefault(HOURS + month, {})[f"{part}|{field}"] = number
        else:
            tables.setdefault(DAYS + month, {})[f"{part}|{field}"] = number
            totals = tables.setdefault(MONTH + month, {})
            totals[field] = totals.get(field, 0) + number
    return {name: {field: number for field, number in table.items() if number} for name, table in tables.items()}


def to_cells(tables: Iterable[tuple[str, Mapping[str, int]]]) -> Cells:
    """Read cells back from tables of days and hours, by name: the inverse of `by_table`."""
    cells: Cells = {}
    for name, table in tables:
        kind, month = name.split(":", 1)
        if kind + ":" != MONTH:
            for field, number in table.items():
                part, rest = field.split("|", 1)
                cells[f"{month}-{part}", rest] = number
    return cells
