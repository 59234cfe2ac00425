#!/usr/bin/env python3
"""Run `mutualnet3d predict`."""

import sys

from mutualnet3d.cli.predict import main

if __name__ == "__main__":
    sys.exit(main())
