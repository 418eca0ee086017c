"""The version, alone, so that builds read it without importing weft."""

__version__ = "0.1.0"
