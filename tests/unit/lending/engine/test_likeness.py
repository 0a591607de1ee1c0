"""Names of the same person written in other ways are found, with the words that say so; others are not."""

import pytest

from lending.engine import likeness, names

LIST = (
    "VELTHORN, Aurelio Pasco",
    "Владимир Ковальчук",
    "OOO Северная Звезда",
    "Van der Meer, Jan",
    "Χαράλαμπος Γεωργίου",
    "GLASS HERON SHIPPING LTD.",
    "HTC",
    "Mohammed Ali Hassan",
)
INDEX = likeness.Index.of([names.of(name) for name in LIST])


def best(written: str, *, is_person: bool = True) -> tuple[str, int]:
    name = names.of(written)
    rated = [
        (INDEX.compare(name, int(place), is_person=is_person).score, LIST[int(place)])
        for place in INDEX.candidates([name])[0]
    ]
    score, found = max(rated, default=(0.0, ""))
    return found, round(score)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("Aurelio Velthorn", LIST[0]),
        ("Dr. Aurélio P. Velthorn", LIST[0]),
        ("Vladimir Kovalchuk", LIST[1]),
        ("Severnaya Zvezda", LIST[2]),
        ("Jan Vandermeer", LIST[3]),
        ("Haralambos Georgiou", LIST[4]),
        ("Glass Herons Shipping LLC", LIST[5]),
        ("Muhammad Ali Hasan", LIST[7]),
    ],
)
def test_another_way_to_write_a_name_is_found(written: str, found: str) -> None:
    name, score = best(written)
    assert name == found
    assert score >= 85


@pytest.mark.parametrize("written", ["Aurelio Bianchi", "HTC Capital", "Glass Shipping", "Jan de Boer", "Ali"])
def test_what_only_shares_a_word_is_not(written: str) -> None:
    assert best(written, is_person=False)[1] < 85


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("Hoffnung & Söhne GmbH & Co. KG", ("hoffnung", "sohne")),
        ("Open Joint Stock Company Mir", ("mir",)),
        ("O'Neil, Séan", ("sean", "oneil")),
        ("Ltd", ("ltd",)),
    ],
)
def test_a_name_is_brought_into_one_form(written: str, words: tuple[str, ...]) -> None:
    assert names.of(written).words == words


def test_an_empty_list_is_like_nobody() -> None:
    empty = likeness.Index.of([])
    assert [len(places) for places in empty.candidates([names.of("Anybody")])] == [0]
