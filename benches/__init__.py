"""The bench (`make bench`): our speed beside a plain implementation of the same formulas and a counted floor."""
