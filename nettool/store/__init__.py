"""Records: what nettool remembers between two runs."""
