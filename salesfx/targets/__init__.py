"""Monthly targets, the working time that a month has, and where a month will end; pure."""
