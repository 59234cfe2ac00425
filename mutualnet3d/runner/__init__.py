"""Training and testing by a config: the parts put together, no maths."""

from mutualnet3d.runner.build_space import build_space, build_test_space, configs_to_test, paper_results_of
from mutualnet3d.runner.testing import test
from mutualnet3d.runner.training import train

__all__ = ["build_space", "build_test_space", "configs_to_test", "paper_results_of", "test", "train"]
