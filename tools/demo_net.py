#!/usr/bin/env python3
"""Run `mutualnet3d stream`."""

import sys

from mutualnet3d.cli.stream import main

if __name__ == "__main__":
    sys.exit(main())
