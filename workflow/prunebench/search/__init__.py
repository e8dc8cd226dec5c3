"""Searches for an allocation: spaces of candidates, strategies that propose them, and how they are judged."""
