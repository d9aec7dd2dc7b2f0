"""What tests of every folder share."""

import logging
import sys

import pytest

from scident import registry


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Slow tests start first, so that no worker waits for the last of them; the drawn order of the others stays."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


FINISHED = ("test_smoke.py", "test_same_numbers.py", "test_failures.py")
"""Files whose tests look at one finished benchmark (tests/workflow/conftest.py)."""
TOGETHER = ("test_report_stage.py", "test_aggregate_stage.py")
"""Files whose tests look at what their module makes once, at some length."""


def group(nodeid):
    """Return what a test shares with others that should run in the same worker."""
    file, _, test = nodeid.partition("::")
    name = file.rsplit("/")[-1]
    if name in FINISHED:
        return "finished"
    if name in TOGETHER:
        return name
    if name == "test_real_configs.py" and "plans_its_jobs" not in test:
        return test[test.index("[") :]
    return nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Make what several tests look at once, not once in each worker; other tests go to whoever is free."""
    from xdist.scheduler import LoadScopeScheduling

    class Grouped(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return group(nodeid)

    return Grouped(config, log)


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
