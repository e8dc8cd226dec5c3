"""Scores of answers to questions about images: VQA accuracy, and the choice that an answer names. Pure functions."""

import re
from collections.abc import Sequence

from prunebench.assets.pictures import LETTERS

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_NUMBERS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6"} | {
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
}
_ARTICLES = frozenset(("a", "an", "the"))
_CONTRACTIONS = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's isn't
it'd it'll ma'am might've mightn't must've mustn't needn't not've o'clock oughtn't shan't should've shouldn't
somebody'll somebody's someone'd someone'll someone's something'd something'll that's there'd there're there's
they'd they'll they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's
where've who'd who'll who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've something'd've
there'd've they'd've we'd've who'd've wouldn't've y'all'd've y'all'll you'd've
"""
_MENDED = {
    contraction[:place] + contraction[place + 1 :]: contraction
    for contraction in _CONTRACTIONS.split()
    for place, letter in enumerate(contraction)
    if letter == "'"
} | {"somebody'd": "somebodyd", "'ows'at": "'ow's'at"}
"""Contractions that lack one apostrophe -> the contraction, and two oddities of the official list."""
_PERIODS = 32
"""The official code takes out so many periods at most, because it passes a flag in the place of a count."""
_STARTS = re.compile(rf"([{LETTERS}])(?:\Z|\. )")
_NAMED = re.compile(r"The answer is ([A-Z]).")
"""The sentence in which an answer names a choice; the last period stands for any character but a line's end."""


def normalised(answer: str) -> str:
    """`answer` in the form in which VQA's official evaluation compares answers, as EvalAI's server and LLaVA apply it.

    Letters are small, commas, question marks and punctuation go, number words become digits, articles go, and
    contractions get their apostrophe (https://visualqa.org/evaluation.html). The result equals that of the class
    EvalAIAnswerProcessor in LLaVA's llava/eval/m4c_evaluator.py, which scores TextVQA and prepares answers to VQAv2.
    """
    text = answer.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    words = [_NUMBERS.get(word, word) for word in _without_punctuation(text).split()]
    return " ".join(_MENDED.get(word, word) for word in words if word not in _ARTICLES)


def _without_punctuation(text: str) -> str:
    kept = text
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text
        kept = kept.replace(mark, "" if beside_space else " ")
    return re.sub(r"\.(?!\d)", "", kept, count=_PERIODS)


def vqa_accuracy(answer: str, given: Sequence[str]) -> float:
    """The accuracy of `answer`, between 0 and 1, against the answers that people have `given`, ten in VQA.

    It is the mean over the people: each one's answer is left out once, and min(1, m / 3) counts, where m is the number
    of the others that agree with `answer`. With a single person an equal answer has accuracy 1.
    """
    own = normalised(answer)
    agree = [normalised(other) == own for other in given]
    if len(agree) == 1:
        return float(agree[0])
    return sum(min(1.0, (sum(agree) - each) / 3) for each in agree) / len(agree)


def chosen(answer: str, choices: int) -> int | None:
    """The index of the one of `choices` choices whose letter `answer` names; None if it names none.

    An answer names a choice as in ScienceQA's evaluation by LLaVA (llava/eval/eval_science_qa.py at commit c121f04):
    it is a letter ("B"), or begins with a letter, a period and a space ("B. a bird"), or else has the words
    "The answer is B" with a character behind them exactly once. "B.", "The answer is B" at the end and two such
    sentences name none.
    """
    text = answer.strip()
    start = _STARTS.match(text)
    letters = [start[1]] if start else _NAMED.findall(text)
    index = LETTERS.find(letters[0]) if len(letters) == 1 else -1
    return index if 0 <= index < choices else None
