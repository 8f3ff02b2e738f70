"""``python -m steepest.cli`` is ``steepest``."""

from steepest.cli.main import main

main()
