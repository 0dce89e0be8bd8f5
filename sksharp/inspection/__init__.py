"""Look at a fit: how sharp its minimum is, and pictures of it."""

from ._sharpness import Sharpness, sharpness

__all__ = ["Sharpness", "sharpness"]
