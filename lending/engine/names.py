"""
Names of people and firms in the one form in which they are compared.

Accents fall, Cyrillic and Greek are written in Latin letters, titles and legal forms go. Arabic, Hebrew, Han and other
scripts stay as they are: the lists carry Latin spellings of such names, and those are what is compared.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Letters that do not fall apart into a plain one and a mark.
_LATIN = {
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i", "ħ": "h", "ŋ": "ng",
    "ə": "a", "ĸ": "k", "ŧ": "t", "ƒ": "f",
}  # fmt: skip
_CYRILLIC = {
    "а": "a", "б": "b", "в": "v", "г": "g", "д": "d", "е": "e", "ж": "zh", "з": "z", "и": "i", "й": "y", "к": "k",
    "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t", "у": "u", "ф": "f", "х": "kh",
    "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "", "ы": "y", "ь": "", "э": "e", "ю": "yu", "я": "ya",
    "ё": "e", "є": "ye", "і": "i", "ї": "yi", "ґ": "g", "ў": "u", "ђ": "dj", "ј": "j", "љ": "lj", "њ": "nj",
    "ћ": "c", "џ": "dz", "ѓ": "g", "ќ": "k", "ѕ": "dz", "қ": "k", "ғ": "g", "ң": "n", "ө": "o", "ү": "u", "ұ": "u",
    "һ": "h", "ә": "a",
}  # fmt: skip
_GREEK = {
    "α": "a", "β": "v", "γ": "g", "δ": "d", "ε": "e", "ζ": "z", "η": "i", "θ": "th", "ι": "i", "κ": "k", "λ": "l",
    "μ": "m", "ν": "n", "ξ": "x", "ο": "o", "π": "p", "ρ": "r", "σ": "s", "ς": "s", "τ": "t", "υ": "y", "φ": "f",
    "χ": "ch", "ψ": "ps", "ω": "o",
}  # fmt: skip
_LETTERS: Mapping[int, str] = str.maketrans({**_LATIN, **_CYRILLIC, **_GREEK})

MOST_WORDS = 16
_UNSEEN = ("Cf", "Cc")
_NEVER = (*_UNSEEN, "Co", "Cn", "Cs", "Zl", "Zp")

_TITLES = frozenset(("mr", "mrs", "ms", "miss", "dr", "prof", "professor", "sir", "dame"))
_PHRASES = (
    (re.compile(r"\b(?:(?:open|public|closed|private) )?joint stock company\b"), "jsc"),
    (re.compile(r"\blimited liability (?:company|partnership)\b"), "llc"),
    (re.compile(r"\bpublic limited company\b"), "plc"),
)
_LEGAL = (
    "ltd limited llc llp lp inc incorporated corp corporation co company plc gmbh ag kg kgaa ug se sa sas sarl srl spa "
    "snc bv nv cv vof ab as asa aps oy oyj jsc ojsc cjsc pjsc ooo oao zao pao ao tov doo dd ad kft zrt nyrt sro spol "
    "sp zoo pt tbk bhd sdn pte pty fze fzco fzc dmcc wll saoc psc kk gk sl slu ltda eirl sab saic sca scs cia "
    "establishment est"
)
_FORMS = frozenset(_LEGAL.split())
_LINKS = frozenset(("and", "the", "und", "et", "y"))


@dataclass(frozen=True, slots=True)
class Name:
    """A name as it is written, the words by which it is compared, and those as one, without gaps."""

    written: str
    words: tuple[str, ...]
    whole: str


def latin(text: str) -> str:
    """Return a text in small plain letters, as far as its script is one of those written here in Latin ones."""
    # Before accents fall: й and ї are letters of their own, not и and і with a mark.
    composed = unicodedata.normalize("NFKC", text).casefold().translate(_LETTERS)
    parts = unicodedata.normalize("NFKD", composed)
    seen = (sign for sign in parts if not unicodedata.combining(sign) and unicodedata.category(sign) not in _UNSEEN)
    return "".join(seen).translate(_LETTERS)


def problem(written: str) -> str:
    """
    Return why a name can not be held against a list as it is written, and what to do; "" where it can.

    Signs that nobody sees, and letters of two alphabets in one word, look like a name and are another.
    """
    if any(unicodedata.category(sign) in _NEVER for sign in written):
        return "it holds signs that can not be seen: type the name, instead of pasting it"
    for word in re.split(r"[\W\d_]+", written):
        if len({alphabet for sign in word if (alphabet := _alphabet(sign))}) > 1:
            return f"{word!r} mixes letters of two alphabets: type it in one"
    if not any("a" <= sign <= "z" for sign in latin(written)):
        return "write it in Latin letters, as a passport does in its machine-readable lines"
    if len(of(written).words) > MOST_WORDS:
        return f"a name has at most {MOST_WORDS} words"
    return ""


def _alphabet(sign: str) -> str:
    name = unicodedata.name(sign, "")
    return next((alphabet for alphabet in ("LATIN", "CYRILLIC", "GREEK") if name.startswith(alphabet)), "")


def of(written: str) -> Name:
    """Return a name in the form in which it is compared; what would leave nothing of it stays."""
    last, comma, first = written.partition(",")
    in_order = f"{first} {last}" if comma and "," not in first else written  # lists write last names first
    plain = re.sub(r"['’ʼ`´.]", "", latin(in_order))
    plain = " ".join(re.sub(r"[\W_]+", " ", plain).split())
    for phrase, short in _PHRASES:
        plain = phrase.sub(short, plain)
    words = _bare(plain.split())
    return Name(written, tuple(words), "".join(words))


def _bare(words: Sequence[str]) -> list[str]:
    """Return words without links, titles in front and legal forms at either end."""
    kept = [word for word in words if word not in _LINKS] or list(words)
    while len(kept) > 1 and kept[0] in _TITLES:
        kept = kept[1:]
    while len(kept) > 1 and kept[-1] in _FORMS:
        kept = kept[:-1]
    while len(kept) > 1 and kept[0] in _FORMS and len(kept[0]) > 1:
        kept = kept[1:]
    return kept
