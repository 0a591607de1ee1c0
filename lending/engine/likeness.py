"""
How like a name is to those of a sanctions list, and why.

Two names are laid beside each other word by word, in whatever order, each pair as like as Jaro and Winkler say; rare
words count more than common ones, and words that only one of the names has count against it. Names whose gaps differ
(Van der Meer, Vandermeer) are compared as a whole too, by their longest common subsequence. All of it runs in
rapidfuzz, over the whole list at once.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process
from rapidfuzz.distance import JaroWinkler

from lending.engine.names import Name

WORD_ALIKE = 0.86  # two words below it are two words
WHOLE_ALIKE = 82.0  # per cent; two names without gaps below it are two names
_SHORT = 3  # letters; words so short are equal or different
_INITIAL = 0.8  # what a letter counts that may stand for the word beside it
_COMMON_WEIGHT = 0.25
_GENERIC_WEIGHT = 0.35
_RARE_AT = 1000  # names; in a shorter list a word is not yet common because it stands in several of them
_WHOLE_FROM = 6  # letters; below that a whole says little
_COVERED = 0.6  # of the shorter name; less can not reach any sensible threshold
_AT_ONCE = 256  # names laid beside the list at a time

_BUSINESS = (
    "holding holdings group trading trade traders capital international global investment investments services "
    "service fund funds partners partnership management bank banking industries industrial general company shipping "
    "logistics technology technologies tech energy oil gas mining development construction engineering enterprise "
    "enterprises commercial import export financial finance markets market ventures digital assets trust treasury "
    "family office foundation organization organisation centre center national united new"
)
GENERIC = frozenset(_BUSINESS.split())

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Likeness:
    """How like two names are, from 0 to 100, and the pairs of words and the words left over that say so."""

    score: float
    pairs: tuple[tuple[str, str, float], ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    as_whole: bool

    def facts(self) -> dict[str, Any]:
        """Return it in JSON values."""
        return {
            "name": round(self.score),
            "pairs": [[first, second, round(100 * alike)] for first, second, alike in self.pairs],
            "only_client": list(self.only_first),
            "only_list": list(self.only_second),
            "as_whole": self.as_whole,
        }


@dataclass(frozen=True, slots=True)
class Index:
    """The names of a list, laid out so that many names can be compared with all of them at once."""

    names: Sequence[Name]
    weights: Mapping[str, float]
    _words: Sequence[str]
    _places: Sequence[Ints]
    _total: Floats
    _wholes: Sequence[str] = field(default=())

    @classmethod
    def of(cls, names: Sequence[Name]) -> Self:
        """Return the index of some names, N of them; their places in it are those in the sequence."""
        places: defaultdict[str, list[int]] = defaultdict(list)
        for place, name in enumerate(names):
            for word in set(name.words):
                places[word].append(place)
        weights = {word: _weight(word, len(found), len(names)) for word, found in places.items()}
        total = [sum(weights[word] for word in name.words) for name in names]
        return cls(
            names=names,
            weights=weights,
            _words=list(places),
            _places=[np.asarray(found, dtype=np.int32) for found in places.values()],
            _total=np.asarray(total, dtype=np.float32),
            _wholes=[name.whole for name in names],
        )

    def candidates(self, names: Sequence[Name]) -> list[Ints]:
        """Return, for each name, the places of those in the list that may be like it: rather too many than too few."""
        found: list[Ints] = []
        for start in range(0, len(names) if self.names else 0, _AT_ONCE):
            found += self._candidates(names[start : start + _AT_ONCE])
        return found or [np.empty(0, dtype=np.int32) for _ in names]

    def _candidates(self, names: Sequence[Name]) -> list[Ints]:
        near = self._near(sorted({word for name in names for word in name.words}))
        wholes = process.cdist(
            [name.whole for name in names], self._wholes, scorer=fuzz.ratio, score_cutoff=WHOLE_ALIKE, dtype=np.float32
        )
        return [self._likely(name, near, np.flatnonzero(row)) for name, row in zip(names, wholes, strict=True)]

    def _near(self, words: Sequence[str]) -> dict[str, list[tuple[int, float]]]:
        """Return, for each of some words, the places of the list's words that are like it, and how like they are."""
        scorer = JaroWinkler.normalized_similarity
        scores = process.cdist(words, self._words, scorer=scorer, score_cutoff=WORD_ALIKE, dtype=np.float32)
        letters = {word: place for place, word in enumerate(self._words) if len(word) == 1}
        near: dict[str, list[tuple[int, float]]] = {}
        for word, row in zip(words, scores, strict=True):
            if len(word) == 1:
                places: Collection[int] = [place for place, other in enumerate(self._words) if other[0] == word]
            else:
                places = {*map(int, np.flatnonzero(row)), *([letters[word[0]]] if word[0] in letters else ())}
            rated = ((place, _alike(word, self._words[place])) for place in places)
            near[word] = [(place, alike) for place, alike in rated if alike]
        return near

    def _likely(self, name: Name, near: Mapping[str, Sequence[tuple[int, float]]], as_whole: Any) -> Ints:
        """Return the places of names of which enough is covered by words of a name, and of those like it as a whole."""
        covered = np.zeros(len(self.names), dtype=np.float32)
        best = np.zeros(len(self.names), dtype=np.float32)
        for word in name.words:
            for place, alike in near[word]:
                where = self._places[place]
                best[where] = np.maximum(best[where], alike * max(self.weight(word), self.weights[self._words[place]]))
            for place, _ in near[word]:
                covered[self._places[place]] += best[self._places[place]]
                best[self._places[place]] = 0
        enough = (covered > 0) & (covered >= _COVERED * np.minimum(self._total, sum(map(self.weight, name.words))))
        enough[as_whole] = True
        return np.flatnonzero(enough).astype(np.int32)

    def weight(self, word: str) -> float:
        """Return how much a word counts, from 0 to 1: one that the list does not know is rare."""
        known = self.weights.get(word)
        return known if known is not None else (_GENERIC_WEIGHT if word in GENERIC else 1.0)

    def compare(self, name: Name, place: int, *, is_person: bool) -> Likeness:
        """Return how like a name is to the one at a place of the list."""
        return compare(name, self.names[place], self.weight, is_person=is_person)


def compare(first: Name, second: Name, weight: Any, *, is_person: bool) -> Likeness:
    """
    Return how like two names are, from 0 to 100.

    Words that only one name has count against it: in full where both have some (another surname), a quarter of a
    person's and half of a firm's where only one does (a middle name left out), and in full where a single word is all
    that agrees. `weight` says how much a word counts.
    """
    pairs, left, right = _pair(first.words, second.words)
    matched = [(one, two, alike, (weight(one) + weight(two)) / 2) for one, two, alike in pairs]
    gained = sum(alike * counts for _, _, alike, counts in matched)
    paired = sum(counts for *_, counts in matched)
    apart, more = sorted((sum(map(weight, left)), sum(map(weight, right))))
    share = 1.0 if len(pairs) < 2 else 0.25 if is_person else 0.5
    by_words = 100 * gained / (paired + apart + share * more) if pairs else 0.0
    whole = fuzz.ratio(first.whole, second.whole) if min(len(first.whole), len(second.whole)) >= _WHOLE_FROM else 0.0
    if whole >= WHOLE_ALIKE and whole > by_words:
        return Likeness(whole, pairs, left, right, as_whole=True)
    return Likeness(by_words, pairs, left, right, as_whole=False)


def _pair(
    first: Sequence[str], second: Sequence[str]
) -> tuple[tuple[tuple[str, str, float], ...], tuple[str, ...], tuple[str, ...]]:
    """Return pairs of words, the most alike first, and what is left of either name."""
    options = sorted(
        (
            (-alike, place, other)
            for place, one in enumerate(first)
            for other, two in enumerate(second)
            if (alike := _alike(one, two))
        ),
    )
    used_first: set[int] = set()
    used_second: set[int] = set()
    pairs = []
    for alike, place, other in options:
        if place not in used_first and other not in used_second:
            used_first.add(place)
            used_second.add(other)
            pairs.append((first[place], second[other], -alike))
    return tuple(pairs), _rest(first, used_first), _rest(second, used_second)


def _rest(words: Sequence[str], used: Collection[int]) -> tuple[str, ...]:
    return tuple(word for place, word in enumerate(words) if place not in used)


def _alike(one: str, two: str) -> float:
    """Return how like two words are, 0 where they are two words."""
    if 1 in (len(one), len(two)):
        return 1.0 if one == two else max(_initial(one, two), _initial(two, one))
    return _words_alike(one, two, JaroWinkler.normalized_similarity(one, two, score_cutoff=WORD_ALIKE))


def _words_alike(one: str, two: str, alike: float) -> float:
    if min(len(one), len(two)) <= _SHORT and one != two:
        return 0.0
    return alike


def _initial(letter: str, word: str) -> float:
    """Return what a single letter counts beside a word that it may stand for."""
    if len(letter) != 1 or not word.startswith(letter):
        return 0.0
    return 1.0 if letter == word else _INITIAL


def _weight(word: str, found: int, of: int) -> float:
    """Return how much a word counts that stands in some of the names of a list: the rarer, the more."""
    if word in GENERIC:
        return _GENERIC_WEIGHT
    size = max(of, _RARE_AT)
    return max(_COMMON_WEIGHT, math.log(size / found) / math.log(size))
