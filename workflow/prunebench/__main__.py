"""`python -m prunebench`, for environments whose commands are not on the path."""

from prunebench.cli import app

if __name__ == "__main__":
    app(prog_name="prunebench")
