"""The verbs of the command line, a module each: options, Request, the one path."""
