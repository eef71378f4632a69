"""Whether as many leads come as usual: a model of the lead flow, without I/O and without a clock."""
