"""Prediction over HTTP: `mutualnet3d serve`."""
