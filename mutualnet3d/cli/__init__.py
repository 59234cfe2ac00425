"""The command `mutualnet3d`: a module for each of its commands."""
