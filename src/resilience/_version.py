"""The version, in one place: the build reads it, and `resilience.__version__` on request."""

__version__ = "0.1.0.dev0"
