"""The command `mutualnet3d`: a module for each of its commands, and the scripts in tools/ that call the same."""
