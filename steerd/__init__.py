"""steerd: health checks and global traffic steering for AI model endpoints."""

__all__ = ["__version__"]
__version__ = "0.1.0"
