"""Dead letters: events that could not be used, why, and what became of them.

`letter` is the form of what stands in the dead-letter topic, `ledger` folds its records to the state of each letter,
`box` reads and writes the topic, `replay` publishes letters again. The worker writes letters through
`streams.dead_letters`, in the form that `letter` gives them.
"""
