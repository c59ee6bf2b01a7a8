"""The verbs of `nettool network`."""
