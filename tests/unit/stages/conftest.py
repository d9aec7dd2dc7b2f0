"""One small world for the train and infer tests."""

import pytest

from _jobs import make_data


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    make_data(root)
    return root


@pytest.fixture
def root(files, tmp_path, plugins):
    """A folder of its own that sees the world's files; plug-ins are forgotten afterwards."""
    del plugins
    for path in files.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path
