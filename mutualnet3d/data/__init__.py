"""Videos to clips: lists, sampling, decoding, transforms, loaders."""
