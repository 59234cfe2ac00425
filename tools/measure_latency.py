#!/usr/bin/env python3
"""Run `mutualnet3d latency`."""

import sys

from mutualnet3d.cli.latency import main

if __name__ == "__main__":
    sys.exit(main())
