from __future__ import annotations

from mutualnet3d.cli import test, train


def test_its_words_are_those_of_train():
    """tests/cli/test_train.py runs it."""
    options, usual = ({action.dest for action in command.parser()._actions} for command in (test.main, train.main))
    assert options == usual
    assert test.main.summary == "Test a checkpoint as a config says: the query table of its sub-networks"
