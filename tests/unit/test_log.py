"""Events on stderr, progress where somebody looks."""

import io
import logging

import pytest

from scident import log


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def root(monkeypatch):
    logger = logging.getLogger("scident")
    kept = logger.handlers, logger.level
    logger.handlers = []
    yield logger
    logger.handlers, level = kept
    logger.setLevel(level)


def test_set_up_adds_one_handler_however_often_it_is_called(root):
    log.set_up()
    log.set_up()
    assert len(root.handlers) == 1
    assert root.level == logging.INFO


def test_plain_lines_elsewhere(root, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(log.sys, "stderr", stream)
    log.set_up()
    logging.getLogger("scident.somewhere").info("fitted pca")
    assert stream.getvalue().endswith("INFO fitted pca\n")


def test_rich_lines_on_a_terminal(root, monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(log.sys, "stderr", stream)
    log.set_up()
    logging.getLogger("scident.somewhere").info("fitted pca")
    assert "fitted pca" in stream.getvalue()
    assert type(root.handlers[0]).__name__ == "RichHandler"


def test_progress_elsewhere_is_a_line_now_and_then(caplog, monkeypatch):
    clock = iter([0.0, 1.0, log.EVERY_S, log.EVERY_S, log.EVERY_S + 1])
    monkeypatch.setattr(log.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO, "scident"), log.progress("train", 4) as tick:
        tick(1, "a")
        tick(2, "b")
        tick(3, "c")
    assert [record.message for record in caplog.records] == ["train 2/4 b"]


def test_progress_on_a_terminal_is_a_bar(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(log.sys, "stderr", stream)
    with log.progress("train", 4) as tick:
        tick(4, "val 3.2")
    assert "4/4" in stream.getvalue()
