#!/usr/bin/env python3
"""Run `mutualnet3d make-lists`."""

import sys

from mutualnet3d.cli.make_lists import main

if __name__ == "__main__":
    sys.exit(main())
