#!/usr/bin/env python3
"""Run `mutualnet3d prepare-videos`."""

import sys

from mutualnet3d.cli.prepare_videos import main

if __name__ == "__main__":
    sys.exit(main())
