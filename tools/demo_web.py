#!/usr/bin/env python3
"""Run `mutualnet3d web`."""

import sys

from mutualnet3d.cli.web.command import main

if __name__ == "__main__":
    sys.exit(main())
