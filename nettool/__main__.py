"""`python -m nettool` is `nettool`."""

from nettool.cli import entry

entry()
