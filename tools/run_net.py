#!/usr/bin/env python3
"""Run `mutualnet3d train` by its name in PySlowFast: TRAIN.ENABLE and TEST.ENABLE say which of the two run."""

import sys

from mutualnet3d.cli.train import run_net

if __name__ == "__main__":
    sys.exit(run_net())
