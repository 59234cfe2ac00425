"""Entry point of `python -m mutualnet3d`: the command `mutualnet3d`."""

from __future__ import annotations

import sys

from mutualnet3d.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
