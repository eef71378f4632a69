"""`python -m salesfx`."""

from salesfx.cli import main

main()
