"""Export of a model artifact to the formats of other runtimes: :func:`writer.export_model`."""
