"""What tests of every folder share."""

import logging
import sys

import pytest

from scident import registry


@pytest.fixture
def plugins(monkeypatch):
    """A registry that forgets after the test which files it was told of; gives the function that tells it."""
    monkeypatch.setattr(registry, "_plugins", {})
    before = set(sys.modules)
    yield registry.register
    for name in set(sys.modules) - before:
        if name.startswith("scident_plugin_"):
            del sys.modules[name]


@pytest.fixture
def command(monkeypatch, capsys):
    """Run the command line in this process: (arguments) -> (exit status, stdout, stderr)."""
    from scident import cli

    logger = logging.getLogger("scident")
    handlers, level = logger.handlers, logger.level

    def run(*arguments):
        logger.handlers = []  # a handler keeps the stderr it was made with
        monkeypatch.setattr(sys, "argv", ["scident", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    yield run
    logger.handlers = handlers
    logger.setLevel(level)
