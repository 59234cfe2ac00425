"""Video files, frame folders, cameras and frames in memory: read and written. The only part that imports PyAV."""
