"""Planted bugs: deliberate mutations of the product, each of which the tests must catch (`make mutants`)."""
