"""The nemesis: hours of faults against real servers, and the proof that not one number is wrong. `make soak` runs it."""
