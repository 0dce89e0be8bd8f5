"""Searches whose networks are trained together."""
