"""Feeds as they come, made well-formed before they are read.

Owns encodings, stray characters, broken ends and what a feed may cost. Does not own what a feed means
(`streams.sources.rss_entries`).

What is read (`streams.sources.rss_reader`) is UTF-8 that expat accepts, written anew from what expat read: without
DOCTYPE and comments, with each xml:base made absolute, and within bounds that no real feed reaches, since a reader's
work for one element may grow with all that is around it. What is commonly wrong is put right in one pass (control
characters, also as references, bare & and HTML entities); of what is broken beyond, the entries before the fault are
kept and the fault is reported.
"""

from __future__ import annotations

import codecs
import html
import re
import sys
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

MAX_DEPTH: Final = 100
MAX_ELEMENTS: Final = 10_000
"""Elements within an entry, and outside of entries between two of them."""

_MAX_ATTRIBUTES: Final = 100
_MAX_NAMESPACES: Final = 200
_MAX_NAME: Final = 256
_MAX_INHERITED: Final = 512
_CHUNK: Final = 65_536
_BOMS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_BARE_16: Final = ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
_ENCODING: Final = re.compile(
    r"utf-?(?:8|16)(?:-?[bl]e)?|iso-?[\d-]+(?:-[a-z]+)?|windows-\d+|cp\d+|koi8-[ru]|euc-\w+|shift_jis|gb\w+|big5|us-ascii",
)
_DECLARED: Final = re.compile(rb"^\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
_CHARSET: Final = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9._-]{1,40})")
_DECLARATION: Final = re.compile(r"^\s*<\?xml[^>]{0,300}\?>")
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_AMPERSAND: Final = re.compile(
    r"&(?!(?:amp|lt|gt|quot|apos);)(?:#(?P<decimal>[0-9]{1,7});|#x(?P<hex>[0-9A-Fa-f]{1,6});|(?P<name>[A-Za-z]{2,32});)?"
)
_ENTRY_NAMES: Final = frozenset({"item", "entry"})
_RESERVED_NAMES: Final = frozenset({"authors", "contributors", "publishers", "links"}) | {
    f"{name}_detail" for name in ("author", "publisher", "title", "generator")
}
"""Elements that feedparser would mistake for lists of its own."""

_BREAKS: Final = {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}


class NotAFeed(ValueError):
    """Bytes that are no feed, or one that may not be read; the message says which."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A well-formed document in UTF-8 without declaration; `fault` says what of it is missing, if anything."""

    document: bytes
    fault: str = ""


def well_formed(body: bytes, content_type: str, url: str) -> Whole:
    """Return the document of `url`, repaired if need be; NotAFeed if nothing can be saved of it."""
    text = _DECLARATION.sub("", _FORBIDDEN.sub("", _decoded(body, content_type))).strip().lstrip("\ufeff")
    if "<!entity" in text.lower():
        raise NotAFeed("it declares XML entities, which are refused")
    whole = _rewritten(text, url)
    if whole.fault:
        whole = _rewritten(_AMPERSAND.sub(_entity, text), url)
    fault = _fault(whole.document) if whole.document else whole.fault
    if fault:
        raise NotAFeed(f"it is not well-formed: {fault}")
    if whole.fault:
        return Whole(whole.document, f"the feed is damaged ({whole.fault}); entries after that are missing")
    return whole


def _decoded(body: bytes, content_type: str) -> str:
    """Return the text. Valid UTF-8 is UTF-8, whatever is said of it: wrong labels are common."""
    known = next((name for mark, name in (*_BOMS, *_BARE_16) if body.startswith(mark)), "utf-8")
    declared = _DECLARED.match(body)
    charset = _CHARSET.search(content_type.lower())
    named = [declared.group(1).decode().lower() if declared else "", charset.group(1) if charset else ""]
    for name in (known, *named):
        if not _ENCODING.fullmatch(name.removesuffix("-sig")):
            continue
        try:
            return body.decode(name)
        except (UnicodeDecodeError, LookupError):
            continue
    return body.decode("utf-8", "replace")


def _entity(match: re.Match[str]) -> str:
    digits, base = (match.group("decimal"), 10) if match.group("decimal") else (match.group("hex"), 16)
    if digits:  # a control character or half a surrogate pair is no character of XML, however it is written
        code = int(digits, base)
        return "\ufffd" if code > sys.maxunicode or _FORBIDDEN.match(chr(code)) else match.group()
    char = html.unescape(match.group()) if match.group("name") else ""
    return char if char and "&" not in char and "<" not in char else "&amp;" + match.group()[1:]


def _fault(document: bytes) -> str:
    """Return what is wrong with the namespaces of a document, empty if nothing is."""
    try:
        expat.ParserCreate("utf-8", " ").Parse(document, True)
    except expat.ExpatError as error:
        return str(error)
    return ""


def _rewritten(text: str, url: str) -> Whole:
    """Return the document as expat reads it, up to its last whole entry if there is a fault; empty if it has none."""
    writer, document = _Writer(url), text.encode()
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = parser.ordered_attributes = parser.specified_attributes = True
    parser.buffer_size = _CHUNK
    parser.StartElementHandler, parser.EndElementHandler = writer.opened, writer.closed
    parser.CharacterDataHandler = writer.text
    parser.AttlistDeclHandler, parser.SkippedEntityHandler = _no_attributes, _no_entity
    try:
        # expat heeds what a handler raises at the end of a chunk only.
        for start in range(0, len(document), _CHUNK):
            parser.Parse(document[start : start + _CHUNK], False)
        parser.Parse(b"", True)
    except (expat.ExpatError, _OutOfBounds) as error:
        return Whole(writer.before_the_fault(), str(error))
    return Whole(writer.document())


class _OutOfBounds(ValueError):
    """What a feed must not hold; the message says what."""


def _no_attributes(_element: str, _name: str, _kind: str, _default: str | None, _required: int) -> None:
    # expat would add them to every element of that name.
    raise _OutOfBounds("its DOCTYPE declares attributes, which is refused")


def _no_entity(name: str, _parameter: bool) -> None:
    raise _OutOfBounds(f"undefined entity {name}")


class _Writer:
    """Writes what expat's handlers bring, within the bounds; _OutOfBounds where leaving out would not do."""

    def __init__(self, url: str) -> None:
        self._out: list[str] = []
        self._open: list[str] = []
        self._bases = [url]
        self._namespaces: set[tuple[str, str]] = set()
        self._elements = 0
        self._last, self._still_open = 0, list[str]()

    def opened(self, name: str, attributes: list[str]) -> None:
        """Write a start tag."""
        local = _local(name)
        self._elements = 0 if local in _ENTRY_NAMES else self._elements + 1
        if self._elements > MAX_ELEMENTS:
            raise _OutOfBounds(f"an entry, or what lies between two, has more than {MAX_ELEMENTS} elements")
        if len(self._open) >= MAX_DEPTH:
            raise _OutOfBounds(f"its elements are nested more than {MAX_DEPTH} deep")
        pairs = _bounded(list(zip(attributes[::2], attributes[1::2], strict=True)))
        if any(len(one) > _MAX_NAME for one in (name, *(key for key, _ in pairs))):
            raise _OutOfBounds(f"a name has more than {_MAX_NAME} characters")
        self._open.append(f"{name}_" if local in _RESERVED_NAMES else name)
        self._bases.append(self._bases[-1])
        written = ((key, self._written(key, value)) for key, value in pairs)
        shown = "".join(f" {key}={quoteattr(value, _BREAKS)}" for key, value in written if value is not None)
        self._out.append(f"<{self._open[-1]}{shown}>")

    def _written(self, key: str, value: str) -> str | None:
        """Return the value that is written; None for one that is too long to be paid for at each element within."""
        if _declares(key):
            self._namespaces.add((key, value))
            if len(self._namespaces) > _MAX_NAMESPACES or len(value) > _MAX_INHERITED:
                raise _OutOfBounds(f"it has more than {_MAX_NAMESPACES} namespaces, or one that is too long")
            return value
        inherited = _local(key)
        if inherited == "base":  # absolute: a reader would lengthen the one around it by it
            value = _joined(self._bases[-1], value)
        if inherited in ("base", "lang") and len(value) > _MAX_INHERITED:
            return None
        if inherited == "base":
            self._bases[-1] = value
        return value

    def text(self, text: str) -> None:
        """Write character data: as it is where that can be, since a reader takes escaped markup apart sign by sign."""
        whole = ("<" in text or "&" in text) and "\r" not in text and "]]>" not in text
        self._out.append(f"<![CDATA[{text}]]>" if whole else escape(text, {"\r": "&#13;"}))

    def closed(self, name: str) -> None:
        """Write an end tag."""
        self._out.append(f"</{self._open.pop()}>")
        self._bases.pop()
        if _local(name) in _ENTRY_NAMES:
            self._last, self._still_open = len(self._out), list(self._open)

    def document(self) -> bytes:
        """Return what was written."""
        return "".join(self._out).encode()

    def before_the_fault(self) -> bytes:
        """Return what was written up to the last whole entry, closed; empty if there is none."""
        closing = [f"</{name}>" for name in reversed(self._still_open)]
        return "".join([*self._out[: self._last], *closing]).encode() if self._last else b""


def _local(name: str) -> str:
    return name.rpartition(":")[2].lower()


def _declares(key: str) -> bool:
    return "xmlns" in key.split(":")


def _bounded(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return all namespaces, which have a bound of their own, and as many attributes as a reader may compare."""
    if len(pairs) <= _MAX_ATTRIBUTES:
        return pairs
    others = [pair for pair in pairs if not _declares(pair[0])]
    return [*(pair for pair in pairs if _declares(pair[0])), *others[:_MAX_ATTRIBUTES]]


def _joined(base: str, value: str) -> str:
    try:
        return urljoin(base, value)
    except ValueError:  # an address with half a bracket
        return base
