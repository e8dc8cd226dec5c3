"""The language of allocation functions: its text, its normal form, what it refuses, and how functions vary."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunebench.dsa.language import (
    POST,
    PRE,
    REDUCE,
    SPREADS,
    Function,
    crossover,
    mutate,
    normal_form,
    parse,
    random_function,
    reject,
)

README = "W:(ABSLOG)-(VAR)-(ATAN,ASIN)-(7)"
PAPER = "W:(LOG,ABSLOG)-(GEOMETRIC_MEAN)-(COS,EXP)"

functions = st.builds(
    Function,
    st.lists(st.sampled_from(PRE), max_size=2).map(tuple),
    st.sampled_from(REDUCE),
    st.lists(st.sampled_from(POST), min_size=1, max_size=2).map(tuple),
    st.sampled_from([None, *SPREADS]),
)


def test_the_published_functions_are_read() -> None:
    assert parse(README) == Function(("ABSLOG",), "VAR", ("ATAN", "ASIN"), 7)
    assert parse(PAPER) == Function(("LOG", "ABSLOG"), "GEOMETRIC_MEAN", ("COS", "EXP"), None)
    assert (str(parse(README)), str(parse(PAPER))) == (README, PAPER)


@given(functions)
def test_text_and_function_are_the_same_thing(function: Function) -> None:
    assert parse(str(function)) == function
    assert parse(str(function).replace(",", " , ").replace("-", " - ")) == function


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("W:(ABS)-(VARR)-(ATAN)", "unknown operation 'VARR' in REDUCE: did you mean 'VAR'?"),
        ("W:(ABLOG)-(VAR)-(ATAN)", "unknown operation 'ABLOG' in PRE: did you mean 'ABSLOG'?"),
        ("W:(ABS)-(VAR)-(ATAN,MMS)", "unknown operation 'MMS' in TRANSFORM,POST (known: ABS, ACOS"),
        ("W:(ABS)-(VAR)-(9)", "unknown operation '9' in TRANSFORM,POST"),
        ("W:(ABS,ABS,ABS)-(VAR)-(SIN)", "PRE has at most two operations, not 3"),
        ("W:(ABS)-(VAR)-()", "TRANSFORM,POST has one or two operations (NO_OP for none), not 0"),
        ("W:(ABS)-(VAR)-(SIN,COS,TAN)", "TRANSFORM,POST has one or two operations (NO_OP for none), not 3"),
        ("W:(ABS)-(VAR,STD)-(SIN)", "unknown operation 'VAR,STD' in REDUCE"),
        ("W:(ABS)-(VAR)-(SIN)-(11)", "LAMBDA is 7 to 10, in percent, not 11"),
        ("W:(ABS)-(VAR)", "is not of the form W:(PRE,PRE)-(REDUCE)-(TRANSFORM,POST)-(LAMBDA)"),
        ("W:(ABS)-(VAR)-(SIN)-(7)-(7)", "is not of the form"),
        ("(ABS)-(VAR)-(SIN)", "is not of the form"),
        ("", "is not of the form"),
    ],
)
def test_mistakes_are_named(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)) as error:
        parse(text)
    assert repr(text) in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("W:(NO_OP,ABS)-(VAR)-(NO_OP,SIN)-(9)", "W:()-(VAR)-(SIN)-(9)"),
        ("W:()-(VAR)-(NO_OP,NO_OP)", "W:()-(VAR)-(NO_OP)-(8)"),
        ("W:(LOG,ABS)-(VAR)-(SIN)-(7)", "W:(ABSLOG)-(VAR)-(SIN)-(7)"),
        ("W:(NORMALIZE,ABS)-(VAR)-(SIN)-(7)", "W:(NORMALIZE,ABS)-(VAR)-(SIN)-(7)"),
        ("W:(NORMALIZE,ABS)-(L1_NORM)-(SIN)-(7)", "W:(NORMALIZE)-(L1_NORM)-(SIN)-(7)"),
        ("W:(ABSLOG,POW)-(VAR)-(SIN)-(7)", "W:(LOG,POW)-(VAR)-(SIN)-(7)"),
        ("W:(ABSLOG,ABS)-(VAR)-(SIN)-(7)", "W:(ABSLOG)-(VAR)-(SIN)-(7)"),
        ("W:(LOG)-(MEAN)-(ABS,ABS)-(7)", "W:(LOG)-(MEAN)-(ABS)-(7)"),
        ("W:(EXP,ABSLOG)-(VAR)-(SIN)-(7)", "W:(EXP,LOG)-(VAR)-(SIN)-(7)"),
        ("W:(NORMALIZE,MMS)-(VAR)-(SIN)-(7)", "W:(MMS)-(VAR)-(SIN)-(7)"),
        ("W:(LOG,MMS)-(CORREF)-(SIN)-(7)", "W:(LOG)-(CORREF)-(SIN)-(7)"),
        ("W:(LOG)-(VAR)-(ABS,SIN)-(7)", "W:(LOG)-(VAR)-(SIN)-(7)"),
        ("W:(LOG)-(MEAN)-(ABS,SIN)-(7)", "W:(LOG)-(MEAN)-(ABS,SIN)-(7)"),
        ("W:(LOG)-(MEAN)-(ABS,COS)-(7)", "W:(LOG)-(MEAN)-(COS)-(7)"),
        ("W:(LOG)-(MEAN)-(LOG,ABS)-(7)", "W:(LOG)-(MEAN)-(LOG,ABS)-(7)"),
        ("W:(LOG)-(NO_OP)-(NO_OP)-(7)", "W:(LOG)-(MEAN)-(NO_OP)-(7)"),
        ("W:(LOG)-(NO_OP)-(EXP,SIN)-(7)", "W:(LOG,EXP)-(NO_OP)-(SIN)-(7)"),
        ("W:()-(NO_OP)-(LOG,ABS)-(7)", "W:(ABSLOG)-(MEAN)-(NO_OP)-(7)"),
        ("W:(LOG,ABS)-(NO_OP)-(COS)-(7)", "W:(LOG)-(NO_OP)-(COS)-(7)"),
        (README, README),
        (PAPER, "W:(LOG,LOG)-(GEOMETRIC_MEAN)-(COS,EXP)-(8)"),
    ],
)
def test_normal_forms(text: str, expected: str) -> None:
    assert str(normal_form(parse(text))) == expected


@given(functions)
def test_the_normal_form_is_one(function: Function) -> None:
    form = normal_form(function)
    assert normal_form(form) == form
    assert "NO_OP" not in form.pre and (form.post == ("NO_OP",) or "NO_OP" not in form.post)
    assert len(form.pre) + len(form.post) <= len(function.pre) + len(function.post) + 1
    assert reject(form) == reject(function)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("W:(LOG,NORMALIZE)-(MEAN)-(SIN)", "the MEAN of scores after NORMALIZE is the same for all blocks"),
        ("W:(NORMALIZE)-(NO_OP)-(NO_OP)", "the MEAN of scores after NORMALIZE"),
        ("W:(NORMALIZE)-(STD)-(SIN,COS)", "the STD of scores after NORMALIZE"),
        ("W:(NORMALIZE,ABS)-(FROBENIUS_NORM)-(SIN)", "the FROBENIUS_NORM of scores after NORMALIZE"),
        ("W:(NORMALIZE,POW)-(L1_NORM)-(SIN)", "the L1_NORM of the squares"),
        ("W:(EXP)-(MEAN)-(ASIN)", "ASIN of what comes before it is 1.5708 for all blocks"),
        ("W:(LOG)-(VAR)-(EXP,ACOS)", "ACOS of what comes before it is 0 for all blocks"),
        ("W:(EXP,EXP)-(GEOMETRIC_MEAN)-(EXP,TANH)", "TANH of what comes before it is 1 for all blocks"),
    ],
)
def test_what_is_always_constant_is_refused(text: str, reason: str) -> None:
    assert (reject(parse(text)) or "").startswith(reason)


@pytest.mark.parametrize(
    "text",
    [
        README,
        PAPER,
        "W:(NORMALIZE)-(L1_NORM)-(NO_OP)",
        "W:(NORMALIZE,POW)-(VAR)-(NO_OP)",
        "W:(NORMALIZE)-(GRAM)-(NO_OP)",
        "W:()-(MEAN)-(ASIN)",
        "W:(SIGMOID)-(MEAN)-(ASIN)",
        "W:(EXP)-(MEAN)-(ATAN)",
        "W:()-(RANK)-(ASIN)",
    ],
)
def test_what_may_differ_is_not(text: str) -> None:
    assert reject(parse(text)) is None


STAGES = ("pre", "reduce", "transform", "post", "spread")


def stages(function: Function) -> tuple[object, ...]:
    return function.pre, function.reduce, function.post[:1], function.post[1:], function.spread


@given(functions, st.integers(0, 2**32))
def test_a_mutant_differs_in_one_stage(function: Function, seed: int) -> None:
    mutant = mutate(function, random.Random(seed))
    assert sum(a != b for a, b in zip(stages(function), stages(mutant), strict=True)) == 1
    assert parse(str(mutant)) == mutant
    assert mutate(function, random.Random(seed)) == mutant


@given(functions, functions, st.integers(0, 2**32))
def test_a_child_has_each_stage_from_a_parent(a: Function, b: Function, seed: int) -> None:
    child = crossover(a, b, random.Random(seed))
    assert all(stage in parents for stage, *parents in zip(stages(child), stages(a), stages(b), strict=True))
    assert parse(str(child)) == child
    assert crossover(a, b, random.Random(seed)) == child
    assert crossover(a, a, random.Random(seed)) == a


def test_every_stage_varies_and_every_operation_is_drawn() -> None:
    rng = random.Random(0)
    parent, other = parse(README), Function(("MMS", "EXP"), "STD", ("TAN", "COS"), 9)
    mutants = [stages(mutate(parent, rng)) for _ in range(300)]
    children = [stages(crossover(parent, other, rng)) for _ in range(300)]
    for index in range(len(STAGES)):
        assert 30 < sum(mutant[index] != stages(parent)[index] for mutant in mutants) < 100
        assert 100 < sum(child[index] == stages(other)[index] for child in children) < 200
    drawn = [random_function(rng) for _ in range(1000)]
    assert {op for function in drawn for op in function.pre} == set(PRE)
    assert {function.reduce for function in drawn} == set(REDUCE)
    assert {op for function in drawn for op in function.post} == set(POST)
    assert {function.spread for function in drawn} == set(SPREADS)
    assert [random_function(random.Random(7)) for _ in range(2)] == [random_function(random.Random(7))] * 2
