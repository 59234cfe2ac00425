#!/usr/bin/env python3
"""Run `mutualnet3d plot`."""

import sys

from mutualnet3d.cli.plot import main

if __name__ == "__main__":
    sys.exit(main())
