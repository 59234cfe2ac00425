#!/usr/bin/env python3
"""Run `mutualnet3d check-videos`."""

import sys

from mutualnet3d.cli.check_videos import main

if __name__ == "__main__":
    sys.exit(main())
