"""The language of importance scores: what a formula means, how it is spelled, and what is said of a bad one."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oracles import scores as oracle
from prunebench.errors import PrunebenchError
from prunebench.formulas.expressions import BINARY, DEPTH, MATRICES, OPERATIONS, UNARY, Node, evaluate, parse
from prunebench.methods.pruner_zero import PrunerZero
from prunebench.plan.plan import load_plan
from studies import changed, grid

EDGES = [0.0, -0.0, 1.0, -1.0, 1e-3, 99.0, 100.0, 101.0, 1e200, -1e200, 1e-200, float("inf"), float("nan")]
NUMBERS = st.sampled_from(EDGES) | st.floats(-1e3, 1e3)


def trees(operations: list[str]) -> st.SearchStrategy[Node]:
    def deeper(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        def call(name: str) -> st.SearchStrategy[Node]:
            return st.tuples(*[inner] * (1 if name in UNARY else 2)).map(lambda operands: Node(name, operands))

        return st.sampled_from(operations).flatmap(call)

    return st.recursive(st.sampled_from(MATRICES).map(Node), deeper, max_leaves=8)


@st.composite
def matrices(draw: st.DrawFn, numbers: st.SearchStrategy[float] = NUMBERS) -> dict[str, Any]:
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    size = rows * columns
    return {
        name: np.array(draw(st.lists(numbers, min_size=size, max_size=size))).reshape(rows, columns)
        for name in MATRICES
    }


def agree(text: str, values: dict[str, Any], rtol: float, atol: float = 0.0) -> None:
    ours = evaluate(parse(text), {name: torch.from_numpy(value) for name, value in values.items()})
    assert ours.dtype == torch.float64
    np.testing.assert_allclose(ours.numpy(), oracle.formula(text, values), rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", OPERATIONS)
@given(values=matrices())
def test_every_operation_is_numpys(name: str, values: dict[str, Any]) -> None:
    # Variances of numbers near 1e200 overflow, at a different place in every order of summing.
    if name == "zsn":
        values = {key: np.where(np.abs(value) > 1e100, 1.0, value) for key, value in values.items()}
    agree(f"{name}(W)" if name in UNARY else f"{name}(W, G)", values, rtol=1e-9, atol=1e-12 if name == "zsn" else 0)


@given(text=trees(["add", "sub", "mul", "sqr", "pow", "neg", "abs", "tanh", "skp"]).map(str), values=matrices())
def test_operations_inside_each_other_are_numpys(text: str, values: dict[str, Any]) -> None:
    agree(text, values, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["mms", "zsn"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5)])
def test_equal_numbers_scale_to_zero_and_what_is_no_number_stays_none(name: str, shape: tuple[int, int]) -> None:
    equal = torch.full(shape, 0.1, dtype=torch.float64)
    assert torch.equal(evaluate(parse(f"{name}(W)"), {"W": equal}), torch.zeros_like(equal))
    equal[0, 0] = torch.nan
    assert evaluate(parse(f"{name}(W)"), {"W": equal}).isnan().all()
    assert evaluate(parse(f"{name}(W)"), {"W": torch.full_like(equal, torch.inf)}).isnan().all()


@given(trees(list(OPERATIONS)))
def test_printing_and_parsing_are_inverse(node: Node) -> None:
    text = str(node)
    assert parse(text) == node
    assert parse(f" {text} ".replace("(", " (\n").replace(",", " ,  ")) == node
    assert node.matrices == {name for name in MATRICES if name in text}


def test_every_operation_is_listed_once() -> None:
    assert OPERATIONS.keys() == oracle.FUNCTIONS.keys()
    assert not UNARY.keys() & BINARY.keys() and not OPERATIONS.keys() & {*MATRICES}


BAD = {
    "mull(W, G)": "unknown operation 'mull' at character 1: did you mean 'mul'?",
    "abs(tan(W))": "unknown operation 'tan' at character 5: did you mean 'tanh'?",
    "mul(W, 2)": "unknown name '2' at character 8",
    "w": "unknown name 'w' at character 1: did you mean 'W'?",
    "q": "unknown name 'q' at character 1 (known: G, W, X, abs",
    "mul(W)": "'mul' takes 2 operands: expected ',' at character 6, found ')'",
    "log(W, G)": "'log' takes 1 operand: expected ')' at character 6, found ','",
    "abs": "'abs' takes 1 operand: expected '(' at character 4, found the end",
    "mul(W, G": "'mul' takes 2 operands: expected ')' at character 9, found the end",
    "mul(W, ": "expected an operation or a matrix at character 8, found the end",
    "": "expected an operation or a matrix at character 1, found the end",
    "-W": "expected an operation or a matrix at character 1, found '-'",
    "W G": "expected the end at character 3, found 'G'",
    "W(G)": "expected the end at character 2, found '('",
    "neg(" * (DEPTH + 1) + "W" + ")" * (DEPTH + 1): f"more than {DEPTH} operations inside each other",
}


@pytest.mark.parametrize(("text", "message"), BAD.items(), ids=range(len(BAD)))
def test_a_bad_formula_is_explained_when_the_config_is_read(text: str, message: str) -> None:
    entry = {"method": "pruner_zero", "params": {"expression": text}}
    with pytest.raises(PrunebenchError) as caught:
        load_plan(changed("methods.mine", entry, grid({"method": "mine", "sparsity": 0.5})))
    assert f"methods.mine.params.expression: {message}" in str(caught.value)


@given(st.text("mulabsWGX(), \n2é", max_size=30))
def test_any_text_is_a_formula_or_a_mistake(text: str) -> None:
    try:
        node = parse(text)
    except ValueError:
        return
    assert parse(str(node)) == node


def test_spaces_make_no_other_parameters() -> None:
    spaced = PrunerZero.configure(overrides={"expression": "mul( abs(mul(W,W)),mms(G) )"})
    assert spaced == PrunerZero.Params()
    assert parse(spaced.expression).matrices == {"W", "G"}
