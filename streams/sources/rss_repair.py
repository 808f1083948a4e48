"""Feeds as they come, made well-formed before they are read.

Owns encodings, stray characters and broken ends. Does not own what a feed means (`streams.sources.rss_entries`).

feedparser reads broken XML with a second, forgiving parser whose time grows with the square of the length: a hostile
feed of 1 MiB holds a core for an hour. So it only ever gets UTF-8 that expat accepts. What is commonly wrong is put
right in one pass (control characters, also as references, bare & and HTML entities); of what is broken beyond, the
entries before the fault are kept and the fault is reported.
"""

from __future__ import annotations

import codecs
import html
import re
import sys
from dataclasses import dataclass
from typing import Final
from xml.parsers import expat

MAX_DEPTH: Final = 100

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


class NotAFeed(ValueError):
    """Bytes that are no feed, or one that may not be read; the message says which."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A well-formed document in UTF-8 without declaration; `fault` says what of it is missing, if anything."""

    document: bytes
    fault: str = ""


def well_formed(body: bytes, content_type: str) -> Whole:
    """Return the document, repaired if need be; NotAFeed if nothing can be saved of it."""
    text = _DECLARATION.sub("", _FORBIDDEN.sub("", _decoded(body, content_type))).strip().lstrip("\ufeff")
    if "<!entity" in text.lower():
        raise NotAFeed("it declares XML entities, which are refused")
    document = text.encode()
    if not _fault(document):
        return Whole(document)
    document = _AMPERSAND.sub(_entity, text).encode()
    fault = _fault(document)
    if not fault:
        return Whole(document)
    kept = _before_the_fault(document)
    if not kept or _fault(kept):
        raise NotAFeed(f"it is not well-formed: {fault}")
    return Whole(kept, f"the feed is damaged ({fault}); entries after that are missing")


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
    """Return what is wrong with a document, empty if nothing is; NotAFeed if it is nested too deep to be read."""
    parser = expat.ParserCreate("utf-8", " ")
    depth = 0

    def opened(_name: str, _attributes: object) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise NotAFeed(f"its elements are nested more than {MAX_DEPTH} deep")

    def closed(_name: str) -> None:
        nonlocal depth
        depth -= 1

    parser.StartElementHandler, parser.EndElementHandler = opened, closed
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        return str(error)
    return ""


def _before_the_fault(document: bytes) -> bytes:
    """Return the document up to its last whole entry, closed; empty if it has none."""
    parser = expat.ParserCreate("utf-8")
    stack: list[str] = []
    last, still_open = 0, list[str]()

    def closed(name: str) -> None:
        nonlocal last, still_open
        stack.pop()
        if name.rpartition(":")[2] in _ENTRY_NAMES:
            last, still_open = parser.CurrentByteIndex, list(stack)

    parser.StartElementHandler = lambda name, _attributes: stack.append(name)
    parser.EndElementHandler = closed
    try:
        parser.Parse(document, True)
    except expat.ExpatError:
        end = document.find(b">", last) + 1
        return document[:end] + "".join(f"</{name}>" for name in reversed(still_open)).encode() if last else b""
    return b""
