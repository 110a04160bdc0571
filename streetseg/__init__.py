"""Street-scene segmentation: from frames on disk to a promoted model answering HTTP."""

__version__ = "0.1.0"
