"""Text to token ids: cleaning, the model's prefix, and truncation by tokens.

Owns what the model gets to see of a text, in training and in serving alike: both call `clean`, so they cannot differ.
Does not own normalisation for matching or search (that is the stream's), nor batching or padding.

Sources deliver text of any shape: 100,000 characters, lone surrogates, NUL, bidi controls, escapes that a careless feed
left behind. All of it becomes a sequence of ids, except text in which nothing is left to read, or nothing that the
vocabulary knows: that is `Unscorable`.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from nlp.links import HANDLE, LINK
from nlp.scorer import ModelFilesDamaged, Prepared, Unscorable

URL_WORD: Final = "http"
HANDLE_WORD: Final = "@user"

_UNKNOWN: Final = "<unk>"
_FOREIGN: Final = "\ue000"
"""A character for private use: no vocabulary has it."""
_MAX_PIECE: Final = 16
"""Characters of the longest pieces worth having; beyond `_MAX_PIECE * max_tokens` no token of the budget can lie."""
_MOST_DIGITS: Final = 7
"""Digits of the largest character's number, 1114111."""
_TAIL_SHARE: Final = 4
"""One in so many kept tokens comes from the end of a long text: the verdict of a review often stands there."""

_ESCAPE: Final = re.compile(r"\\u([0-9a-fA-F]{4})")
_LONG_ESCAPE: Final = re.compile(r"&#([0-9]{8,});?")
"""No character has a number of eight digits; Python reads at most some thousand of them and raises beyond."""
_LOOSE: Final = (
    r"\u0300-\u036f\u0483-\u0489\u0610-\u061a\u0653-\u065f\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed"
    r"\u0898-\u089f\u08ca-\u08e1\u08e3-\u08ff\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20e2\u20e4-\u20f0\ufe20-\ufe2f"
)
"""Marks that a letter can do without, of a keycap (\u20e3) and of scripts that write their vowels so none."""
_LINES: Final = r"\u0305\u0332-\u0338\u033f"
"""Lines over, under and through, which are drawn on spaces and punctuation, too."""
_LOOSE_MARK: Final = re.compile(f"[{_LOOSE}]")
_MARKED: Final = re.compile(rf"[^\W_][{_LOOSE}]+|[{_LINES}]+")
_MOST_MARKS: Final = 30
"""No language writes more on one letter; of a longer run, which would take seconds to compose, the rest is dropped."""
_ABOVE: Final = "\u0654"
_ABOVE_STAYS: Final = "هیى"
"""Letters that carry a hamza in Persian (خانهٔ) and do not compose with it."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_INVISIBLE: Final = re.compile(
    "[\ud800-\udfff\u0000-\u0008\u000e-\u001f\u007f-\u0084\u0086-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffd"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_JOINERS: Final = re.compile("[\u200c\u200d\ufe00-\ufe0f]+")
_ARABIC: Final = r"(?![\W_])[\u0620-\u06ff\u0750-\u077f\u0870-\u08ff\ufb50-\ufdff\ufe70-\ufefc]"
_SPELLED_APART: Final = re.compile(rf"(?:{_ARABIC}[^\W_]|[^\W_]{_ARABIC})")
_HEBREW_FORM: Final = re.compile("[\ufb1d-\ufb4f]")
_MARKS: Final = re.compile("[\u0591-\u05bd\u05bf\u05c1-\u05c5\u05c7\u0640\u064b-\u0652\u0670\ufb1e]")
"""Niqqud, cantillation, harakat and tatweel: the training texts have hardly any, and meaning survives without."""
_URL: Final = re.compile(LINK, re.IGNORECASE)
_HANDLE: Final = re.compile(HANDLE)
_REPEAT: Final = re.compile(r"(\S)\1{3,}")
_SPACE: Final = re.compile(r"\s+")
_BLANK: Final = "\u2800"
"""The Braille cell without dots: no white space to Unicode, but nothing to read."""
_NOTHING: Final = re.compile("[\\s\u200c\u200d\ufe00-\ufe0f]*")


def _repair(text: str) -> str:
    """Join surrogate pairs into the characters they stand for and drop the lone ones."""
    text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    if _SURROGATE.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    return text


def _shortened(escape: re.Match[str]) -> str:
    """Return a numeric escape without leading zeros, and as HTML has it a replacement for what is no character."""
    digits = escape[1].lstrip("0")
    return "\ufffd" if len(digits) > _MOST_DIGITS else f"&#{digits or 0};"


def _unescaped(text: str) -> str:
    return html.unescape(_LONG_ESCAPE.sub(_shortened, text)) if "&" in text else text


def _composed(marked: re.Match[str]) -> str:
    """Return a letter composed with its marks, without those that stay apart; nothing for lines on what is none."""
    if not marked[0][0].isalnum():
        return ""
    composed = unicodedata.normalize("NFC", marked[0][: _MOST_MARKS + 1])
    letter = composed[0]
    return letter + _ABOVE if _ABOVE in composed and letter in _ABOVE_STAYS else letter


def _unmarked(text: str) -> str:
    return _MARKED.sub(_composed, text) if _LOOSE_MARK.search(text) else text


def _plain_form(form: re.Match[str]) -> str:
    return unicodedata.normalize("NFKD", form[0])


def _joined(run: re.Match[str]) -> str:
    """Return what stays of a run of joiners and variation selectors: what spelling or an emoji needs, nothing else."""
    before, after = run.string[run.start() - 1 : run.start()], run.string[run.end() : run.end() + 1]
    if "\u200c" in run[0] and _SPELLED_APART.fullmatch(before + after):
        return "\u200c"
    if before and (before.isalpha() or unicodedata.combining(before)):
        return ""
    kept = run[0].replace("\u200c", "")
    return kept.replace("\u200d", "") if after.isalpha() else kept


def _link_word(link: re.Match[str]) -> str:
    """Return the word for a link, apart from the text that the author glued to it."""
    return URL_WORD if link.string[link.end() : link.end() + 1] in {"", " "} else f"{URL_WORD} "


def clean(text: str) -> str:
    """Return the text as the model reads it: one line, links and handles as fixed words, nothing invisible.

    Letters with their marks are composed, so that two spellings of one text are one, and lose the marks with which
    they do not compose: what is underlined or struck through is read as its letters. ZWNJ stays between letters or
    digits of which one is Arabic (Persian spelling, also of "iPhone" with an ending and of "5 stars"), ZWJ and
    variation selectors where they belong to an emoji; inside a word they would split it into pieces that the model
    never saw. The result may be empty.
    """
    text = _INVISIBLE.sub("", _unescaped(_repair(text)))
    if not text.isascii():
        text = _MARKS.sub("", _HEBREW_FORM.sub(_plain_form, text.replace(_BLANK, " ")))
        text = _unmarked(_JOINERS.sub(_joined, _unmarked(text)))
    text = _HANDLE.sub(HANDLE_WORD, _URL.sub(_link_word, _SPACE.sub(" ", text)))
    return _REPEAT.sub(r"\1\1\1", text).strip()


def head_and_tail(ids: list[int], most: int) -> list[int]:
    """Return at most `most` of a text's ids (four or more), special tokens at both ends included."""
    if len(ids) <= most:
        return ids
    tail = most // _TAIL_SHARE
    return ids[: most - tail] + ids[-tail:]


def _told(text: str) -> str:
    """Return what a cleaned text tells: all but handles, links, punctuation, white space, marks and joiners."""
    plain = unicodedata.normalize("NFKC", _HANDLE.sub("", text.replace(HANDLE_WORD, "").replace(URL_WORD, "")))
    return "".join(char for char in plain if unicodedata.category(char)[0] not in "CMPZ")


def _is_letter(char: str) -> bool:
    """Return whether it is a letter, be it a white one on a black square, which Unicode counts as a symbol."""
    return char.isalpha() or "\U0001f150" <= char <= "\U0001f189"


def read_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer of a model folder; raise ModelFilesDamaged if its file is none."""
    path = folder / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise ModelFilesDamaged(f"{path} is not a tokenizer: {error}") from error


class TextEncoder:
    """Turns texts into lists of ids of at most `max_tokens`, special tokens and prefix included."""

    def __init__(self, tokenizer: Tokenizer, prefix: str, max_tokens: int) -> None:
        """Take over `tokenizer` (its own truncation and padding are switched off)."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._prefix = prefix
        self.max_tokens = max_tokens
        self._unknown: int | None = tokenizer.token_to_id(_UNKNOWN)
        wordless = [prefix, f"{prefix}{URL_WORD} {HANDLE_WORD} {URL_WORD}", f"{prefix}{_FOREIGN} {_FOREIGN}"]
        self._wordless = frozenset(at for entry in tokenizer.encode_batch_fast(wordless) for at in entry.ids)

    def readable(self, text: str) -> str:
        """Return the cleaned text, cut far beyond the token budget; raise Unscorable if nothing is left to read."""
        cleaned = clean(text)
        if _NOTHING.fullmatch(cleaned):
            raise Unscorable("the text is empty or holds only white space and invisible characters")
        keep = _MAX_PIECE * self.max_tokens
        return cleaned if len(cleaned) <= 2 * keep else f"{cleaned[:keep]} {cleaned[-keep:]}"

    def encode(self, readable: Sequence[str]) -> list[list[int]]:
        """Return one list of ids for each text that `readable` returned; long ones keep their head and their tail."""
        encoded = self._tokenizer.encode_batch_fast([self._prefix + text for text in readable])
        return [head_and_tail(entry.ids, self.max_tokens) for entry in encoded]

    def prepare(self, texts: Sequence[str]) -> list[Prepared | Unscorable]:
        """Return each text cleaned and encoded, or the Unscorable that says why it can't be."""
        found: list[str | Unscorable] = []
        for text in texts:
            try:
                found.append(self.readable(text))
            except Unscorable as error:
                found.append(error)
            except ValueError as error:  # of a library that finds a limit of its own: this text's fault, no other's
                found.append(Unscorable(f"the text cannot be read: {error}"))
        encoded = iter(self.encode([entry for entry in found if isinstance(entry, str)]))
        return [self._known(entry, next(encoded)) if isinstance(entry, str) else entry for entry in found]

    def _known(self, text: str, ids: list[int]) -> Prepared | Unscorable:
        """Refuse what is mostly written in a script that the vocabulary lacks: its score would be that of nothing, or
        of the punctuation, emoji and foreign words that stand among what can't be read ("Пожар!" is no praise).
        """  # noqa: D205  one sentence
        if self._unknown not in ids:
            return Prepared(text, ids)
        told = _told(text)
        letters = [char for char in told if _is_letter(char)]
        unread = self._mostly_unknown(letters) if letters else self._none_known(told)
        if not (unread or self._wordless.issuperset(ids)):
            return Prepared(text, ids)
        fault = "is in a script that the model does not know" if letters else "holds no piece of the model's vocabulary"
        return Unscorable(f"the text {fault}")

    def _mostly_unknown(self, letters: Sequence[str]) -> bool:
        """Return whether no piece of the vocabulary holds most of the letters."""
        return 2 * sum(char not in self._characters for char in letters) > len(letters)

    def _none_known(self, told: str) -> bool:
        """Return whether no piece of the vocabulary holds any of the symbols and digits: punctuation alone is none."""
        return self._characters.isdisjoint(told)

    @cached_property
    def _characters(self) -> frozenset[str]:
        """Those of the vocabulary. Takes a tenth of a second, for which only a text with unknown pieces asks."""
        return frozenset("".join(self._tokenizer.get_vocab(with_added_tokens=False)))
