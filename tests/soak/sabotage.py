"""Workers that are broken on purpose, to show that a run finds it."""

SABOTAGE = {
    "no version check": """
import salesfx.tables.redis as broken
check = "if #conflicts > 2 then"
assert check in broken.SCRIPT
broken.SCRIPT = broken.SCRIPT.replace(check, "if false then")
""",
    "an event skipped": """
from streams.processor import Processor
decode = Processor.decode
async def skipping(self, batch):
    work = await decode(self, batch)
    return work._replace(events=[event for event in work.events if event.standing.offset % 997 or not event.standing.offset])
Processor.decode = skipping
""",
    "counters outside the commit": """
from streams.processor import Processor
commit = Processor._commit
def twice(self, *arguments):
    made = commit(self, *arguments)
    made.counters[f"processed|{made.ranges[0].topic}"] += 1
    return made
Processor._commit = twice
""",
    "offsets stored without the data": """
import dataclasses, random
from streams.processor import Processor
commit = Processor._commit
def empty(self, *arguments):
    made = commit(self, *arguments)
    return dataclasses.replace(made, writes={}, cells={}) if random.random() < 0.01 else made
Processor._commit = empty
""",
    "a float sum": """
from streams.processor import Processor
import dataclasses
commit = Processor._commit
def float_sum(self, *arguments):
    made = commit(self, *arguments)
    cells = {cell: int(number * 1.00001) for cell, number in made.cells.items()}
    return dataclasses.replace(made, cells=cells)
Processor._commit = float_sum
""",
}
