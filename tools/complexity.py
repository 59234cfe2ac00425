#!/usr/bin/env python3
"""Run `mutualnet3d complexity`."""

import sys

from mutualnet3d.cli.complexity import main

if __name__ == "__main__":
    sys.exit(main())
