"""How fast it is, beside a plain implementation of the same formulas and a counted floor: `make bench`."""
