"""Run as `python -m scident`."""

from scident.cli import main

main()
