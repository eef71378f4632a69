"""The archive: the log's records in Parquet files, for a Kafka that does not keep them for ever."""
