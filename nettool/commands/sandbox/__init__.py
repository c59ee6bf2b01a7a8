"""The verbs of `nettool sandbox`."""
