"""`salesfx audit`: the tables computed again, from the records and from Kafka's log, and compared cell by cell."""
