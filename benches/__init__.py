"""The bench (`make bench`): our speed beside a plain implementation of the same formulas and a counted floor."""

import os

from prunebench.runtime.script import HUGE_PAGES

# Jobs set it for themselves. Every other version that is timed, in a process of its own or here, gets equal pages.
os.environ.setdefault(HUGE_PAGES, "1")
