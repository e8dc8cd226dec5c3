"""VQA accuracy and the reading of choices: cases by hand, and the published formula on random answers."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunebench.suites.visual_answers import chosen, normalised, vqa_accuracy


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes", "yes"),
        ("  the Dog.\n", "dog"),
        ("a cat and an owl", "cat and owl"),
        ("two", "2"),
        ("None", "0"),
        ("ten dogs", "10 dogs"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("U.S.", "us"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("twas", "'twas"),
        ("hell", "hell"),
        ("red/blue", "red blue"),
        ("red / blue", "red blue"),
        ("t-shirt", "t shirt"),
        ("left - right", "left right"),
        ("what?", "what"),
        ("man's hat", "man 's hat"),
        ("(yes)", "yes"),
        ("{yes}", "yes"),
        ("a+b", "b"),
        ("rock'n'roll!", "rock'n'roll"),
        ("half:half", "half:half"),
        ("3.", "3"),
        (".5 of it", ".5 of it"),
        ("1,000.50", "1000.50"),
        ("somebody'd", "somebodyd"),
        ("somebodyd've", "somebody'd've"),
        ("'ows'at", "'ow's'at"),
        ("let's", "let 's"),
        ("its", "its"),
        ("hes", "he's"),
        ("Im", "im"),
        ("eleven", "eleven"),
        ("an\nowl", "owl"),
        ("." * 40, "." * 8),
        ("", ""),
    ],
)
def test_normalised(answer: str, expected: str) -> None:
    assert normalised(answer) == expected


@pytest.mark.parametrize(
    ("agreeing", "expected"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0), (10, 1.0)]
)
def test_accuracy_by_the_number_of_ten_people_who_agree(agreeing: int, expected: float) -> None:
    given_answers = ["The dog."] * agreeing + ["cat"] * (10 - agreeing)
    assert vqa_accuracy("dog", given_answers) == pytest.approx(expected, abs=1e-12)


def test_a_single_answer_is_matched() -> None:
    assert vqa_accuracy("Blue", ["blue"]) == 1.0 and vqa_accuracy("blue sky", ["blue"]) == 0.0


ANSWERS = st.sampled_from(["yes", "no", "Yes.", "two", "2", "the 2", "blue"])


@given(ANSWERS, st.lists(ANSWERS, min_size=2, max_size=12))
def test_accuracy_is_the_mean_over_all_groups_without_one_person(answer: str, people: list[str]) -> None:
    plain = {"Yes.": "yes", "two": "2", "the 2": "2"}
    same = [plain.get(person, person) == plain.get(answer, answer) for person in people]
    groups = [*combinations(same, len(same) - 1)]
    expected = sum(min(sum(group) / 3, 1) for group in groups) / len(groups)
    assert vqa_accuracy(answer, people) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("answer", "choices", "expected"),
    [
        ("B", 3, 1),
        (" A\n", 2, 0),
        ("C.", 3, None),
        ("C. ", 3, None),
        ("C.\n", 3, None),
        ("(C)", 3, None),
        ("C: x", 3, None),
        ("F. The answer is B.", 3, 1),
        ("E. The answer is B.", 3, None),
        ("A. The answer is B.", 3, 0),
        ("The answer is A, no. The answer is B.", 3, None),
        ("The answer is A. BECAUSE: The answer is A.", 3, None),
        ("The answer is A or The answer is B", 3, 0),
        ("A. a whale", 2, 0),
        ("C. a whale", 2, None),
        ("The answer is B.", 4, 1),
        ("The answer is B!", 4, 1),
        ("The answer is B", 4, None),
        ("The answer is B\n", 4, None),
        ("The answer is B\nbecause", 4, None),
        ("The answer is Banana", 4, 1),
        ("The answer is F.", 4, None),
        ("The answer is b.", 4, None),
        ("I think.\nThe answer is D, I think.", 4, 3),
        ("The answer is D.", 3, None),
        ("D", 3, None),
        ("b", 3, None),
        ("Banana", 3, None),
        ("", 3, None),
        ("A\nbecause", 2, None),
        ("A.\nbecause", 2, None),
    ],
)
def test_chosen(answer: str, choices: int, expected: int | None) -> None:
    assert chosen(answer, choices) == expected
