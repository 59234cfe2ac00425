#!/usr/bin/env python3
"""Run `mutualnet3d export`."""

import sys

from mutualnet3d.cli.export import main

if __name__ == "__main__":
    sys.exit(main())
