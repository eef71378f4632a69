"""The log that the tables are made from, read again: up to exactly the offsets that some tables stand on."""

from salesfx.event_log.kafka import KafkaSource
from salesfx.event_log.piece import ForgottenMeanwhileError, LogIncompleteError, LogSource, Piece, Range

__all__ = ["ForgottenMeanwhileError", "KafkaSource", "LogIncompleteError", "LogSource", "Piece", "Range"]
