"""Preludes: Python that a process runs before the program that is tested, to replace a part of it."""

from pkgutil import resolve_name

KILL = "import os, signal\n\ndef die(*_):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
"""Defines `die`, by which a replaced function kills its own process."""


def replacing(owner: str, name: str, by: str) -> str:
    """A prelude that replaces the attribute `name` of `owner` by the expression `by`, in which `before` is its value.

    `owner` is a module ("package.module") or a class in it ("package.module:Class"). Raises AssertionError here, before
    any process is started, if there is no such attribute: a prelude that sets one that nobody reads tests nothing.
    """
    try:
        there = hasattr(resolve_name(owner), name)
    except (ImportError, AttributeError):
        there = False
    assert there, f"{owner} has no {name} any more, which this test replaces: it must follow to where that went"
    return (
        f"from pkgutil import resolve_name\nowner = resolve_name({owner!r})\n"
        f"owner.{name} = (lambda before: {by})(owner.{name})\n"
    )
