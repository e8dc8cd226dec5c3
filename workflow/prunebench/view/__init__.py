"""Looking at a run: how its cells stand, and one cell in detail."""
