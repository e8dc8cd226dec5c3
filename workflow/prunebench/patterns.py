"""Sparsity patterns as words: `unstructured`, or `2of4`, which *keeps* 2 of every 4 weights along the inputs."""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction


@dataclass(frozen=True)
class Pattern:
    """A pattern that keeps `keep` of every `group` consecutive weights of a row; `group` 0 means unstructured."""

    keep: int = 0
    group: int = 0

    @property
    def structured(self) -> bool:
        """Whether this is an n:m pattern, which fixes the sparsity."""
        return self.group > 0

    @property
    def sparsity(self) -> Fraction:
        """The fraction of zeros that an n:m pattern implies."""
        return 1 - Fraction(self.keep, self.group)

    def __str__(self) -> str:
        return f"{self.keep}of{self.group}" if self.structured else "unstructured"


UNSTRUCTURED = Pattern()


def parse_pattern(text: str) -> Pattern:
    """Read `unstructured` or `NofM`. Raises ValueError, which says what is wrong, for any other text."""
    if text == "unstructured":
        return UNSTRUCTURED
    match = re.fullmatch(r"(\d+)of(\d+)", text)
    if not match:
        if meant := re.fullmatch(r"\s*(\d+)\s*(?:[:/_-]|of|in)\s*(\d+)\s*", text):
            keep, group = map(int, meant.groups())
            raise ValueError(
                f"{text!r} is written {keep}of{group} here, which keeps {keep} of every {group} inputs of a row and "
                "makes the others zero. It is what most papers call n:m; where they mean n zeros, name what is kept"
            )
        raise ValueError(f"{text!r} is neither 'unstructured' nor of the form '2of4'")
    keep, group = map(int, match.groups())
    if not 0 < keep < group:
        raise ValueError(f"{text!r} must keep at least 1 and fewer than {group} of every {group} weights")
    return Pattern(keep, group)


def sparsity_text(value: object) -> str:
    """The canonical text of a sparsity in [0, 1), with two decimals: 0.5, '.50' and 0.50 all become '0.50'.

    It is part of paths and specs, so that another spelling of a number re-runs nothing. Raises ValueError.
    """
    try:
        number = Decimal(str(value))
        if isinstance(value, bool) or not number.is_finite():
            raise InvalidOperation
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a number{_percentage(value)}") from None
    if not 0 <= number < 1:
        raise ValueError(
            f"{value} is outside [0, 1): sparsity is the fraction of weights that become zero{_percentage(value)}"
        )
    text = f"{abs(number):.2f}"  # abs: minus zero is zero
    if Decimal(text) != number:
        raise ValueError(f"{value} has more than two decimals, which is finer than the benchmark distinguishes")
    return text


def _percentage(value: object) -> str:
    """The end of an error about a sparsity: the fraction that a percentage such as 60 or 60% means."""
    match = re.fullmatch(r"\s*(?:([1-9]\d?)(?:\.0*)?\s*%|([1-9]\d)(?:\.0*)?)\s*", str(value))
    return f": did you mean {int(match[1] or match[2]) / 100}?" if match else ""
