#!/usr/bin/env python3
"""Run `mutualnet3d demo-data`."""

import sys

from mutualnet3d.cli.demo_data import main

if __name__ == "__main__":
    sys.exit(main())
