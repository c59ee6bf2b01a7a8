"""nettool: high-level container networking as explicit, reviewable, reversible plans."""

__version__ = "0.1.0"
