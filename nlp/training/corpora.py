"""Labelled texts for training: which sets there are, how their labels map to ours, and what is held out.

Owns reading and splitting. Does not own batching or the loop (`batches`, `train`).

Public sets are read from a folder laid out as `docs/model-card.md` lists them; they are not part of this repository.
Our own mentions are in `nlp/training/data/mentions*.<lang>.jsonl`: one JSON object a line with `text`, `lang`,
`sentiment`, `urgency`, `intent`, `scenario`. `events*.jsonl` are the same, each event told in several languages under
one scenario. `opinions.<lang>.jsonl` are short verdicts, composed of a subject and a phrase of praise or blame; they
teach plain words that few tweets have. `posts*.<lang>.jsonl` are everyday posts, comments and reviews with a sentiment
alone. All are split by scenario (for verdicts: by phrase), so that no near-copy crosses the split. Label orders differ
between public sets: labels are mapped by name.
"""

from __future__ import annotations

import csv
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nlp.scorer import LABELS, SENTIMENT
from nlp.training.copies import copies

OWN: Final = Path(__file__).parent / "data"
POSTS: Final = "posts"
_KINDS: Final = {"mentions": "own", "events": "events", "opinions": "plain", "posts": POSTS}
_OWN_WEIGHT: Final = 0.1
_POSTS_WEIGHT: Final = 0.05
"""Weight of our own posts of a language beside the public sets, whose tweets of a language have 0.07."""
_TWEET_LANGUAGES: Final = ("ar", "en", "fr", "de", "it", "pt", "es")
_LINK_OR_HANDLE: Final = re.compile(r"https?\S*|@\w+")
_WORD: Final = re.compile(r"\w+")

TASKS: Final[dict[str, tuple[str, ...]]] = {
    **LABELS,
    "complaint": ("no", "yes"),
    "intention": ("no", "undefined", "yes"),
    "request": ("no", "yes"),
    "crisis": (
        "Not related",
        "Affected individuals",
        "Sympathy and support",
        "Donations and volunteering",
        "Caution and advice",
        "Infrastructure and utilities",
        "Other Useful Information",
    ),
}
"""All heads of the network. The last four are auxiliary: they teach the encoder and are dropped from the export."""


EVENT: Final = "event"
"""Pseudo-task: a number for each event that is told several times; its texts are drawn towards each other."""


@dataclass(frozen=True, slots=True)
class Example:
    """One text with the labels that are known of it: task -> index into TASKS[task].

    `opinion` is a second annotator's distribution over the labels of sentiment, empty where there is none.
    """

    text: str
    labels: dict[str, int]
    lang: str
    opinion: tuple[float, ...] = ()


@dataclass(slots=True)
class Corpus:
    """Examples that are all labelled for the same tasks; `share` is its weight when batches are drawn."""

    name: str
    share: float
    train: list[Example] = field(default_factory=list)
    dev: list[Example] = field(default_factory=list)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that its examples are labelled for."""
        return tuple((self.train or self.dev)[0].labels) if self.train or self.dev else ()


def _rows(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a tab-separated file without its header. Quotes are text there, not quoting."""
    lines = path.read_text(encoding="utf-8").split("\n")[1:]
    yield from (row for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if len(row) > 1 and row[0])


def _examples(path: Path, task: str, lang: str, label: Callable[[list[str]], str | None]) -> list[Example]:
    """Return the rows whose label is one of the task's; `label` gives None for rows to leave out."""
    known = TASKS[task]
    found = ((row[0], label(row)) for row in _rows(path))
    return [Example(text, {task: known.index(name)}, lang) for text, name in found if name in known]


def _second(row: list[str]) -> str:
    return row[1]


def held_out(key: str, share: float) -> bool:
    """Return whether `key` falls into the held-out share; stable between runs and machines."""
    return zlib.crc32(key.encode("utf-8", "replace")) % 1000 < share * 1000


def _persian(folder: Path) -> tuple[list[Example], list[Example]]:
    """Return train and dev; the balanced file rewrites reviews of the plain one, so near-copies of dev are left out."""
    plain = _examples(folder / "train.tsv", SENTIMENT, "fa", _second)
    dev = [e for e in plain if held_out(e.text, 0.1)]
    more = _examples(folder / "train_balanced.tsv", SENTIMENT, "fa", _second)
    pool = list({e.text: e for e in [*plain, *more]}.values())
    known = copies(*([frozenset(e.text.split()) for e in part] for part in (pool, dev)))
    return [example for at, example in enumerate(pool) if at not in known], dev


def sentiment_corpora(folder: Path) -> list[Corpus]:
    """Return the public sentiment sets. The Hebrew set's third class means off-topic, not neutral: it is left out."""

    def read(name: str, lang: str) -> list[Example]:
        return _examples(folder / name, SENTIMENT, lang, _second)

    corpora = [
        Corpus(
            f"tweets-{lang}",
            0.07,
            read(f"xlm_t/{lang}_train.tsv", lang),
            read(f"xlm_t/{lang}_val.tsv", lang),
        )
        for lang in _TWEET_LANGUAGES
    ]
    english = Corpus("semeval", 0.40)
    english.train = read("semeval2017_en/train.tsv", "en")
    english.dev = read("tweeteval_sentiment/val.tsv", "en")
    hebrew = Corpus("hebrew", 0.14)
    off_topic = LABELS[SENTIMENT].index("neutral")
    hebrew.train = [e for e in read("hebrew_sentiment/train.tsv", "he") if e.labels[SENTIMENT] != off_topic]
    hebrew.dev = [e for e in read("hebrew_sentiment/val.tsv", "he") if e.labels[SENTIMENT] != off_topic]
    persian = Corpus("persian", 0.13, *_persian(folder / "persian_deepsentipers"))
    return unseen([*corpora, english, hebrew, persian])


def unseen(corpora: list[Corpus]) -> list[Corpus]:
    """Take out of every held-out part what stands in any training part, and return the corpora.

    Most of TweetEval's validation tweets are also XLM-T's English training tweets. Links, handles, case and punctuation
    make no difference.
    """
    seen = {plain_words(example.text) for corpus in corpora for example in corpus.train}
    for corpus in corpora:
        corpus.dev = [example for example in corpus.dev if plain_words(example.text) not in seen]
    return corpora


def plain_words(text: str) -> str:
    """Return the words of a text in small letters, one space between, without links and handles."""
    return " ".join(_WORD.findall(_LINK_OR_HANDLE.sub(" ", text.lower())))


def auxiliary_corpora(folder: Path) -> list[Corpus]:
    """Return the sets whose labels are near urgency and intent without being them; each gets a head of its own."""
    yes_no = ("no", "yes")
    sets = [
        Corpus("complaints", 0.01),
        Corpus("purchase", 0.01),
        Corpus("disaster", 0.01),
        Corpus("crisis", 0.02),
    ]
    sets[0].train = _examples(folder / "complaints_2019/all.tsv", "complaint", "en", lambda row: yes_no[row[1] == "1"])
    sets[1].train = _examples(folder / "purchase_intent/all.tsv", "intention", "en", _second)
    sets[2].train = _examples(
        folder / "disaster_response/val.tsv", "request", "en", lambda row: yes_no["1" in {row[4], row[7], row[8]}]
    )
    sets[3].train = _examples(
        folder / "crisislext26/all.tsv", "crisis", "xx", lambda row: row[2] if row[2] == "Not related" else row[1]
    )
    return sets


def own_corpora(paths: Iterable[Path], dev_share: float = 0.15) -> list[Corpus]:
    """Return our own texts, one corpus per kind and language; whole scenarios are held out.

    Posts are labelled for sentiment alone, all others for all tasks.
    """
    corpora: dict[str, Corpus] = {}
    for path in sorted(paths):
        kind = _KINDS[path.name.split(".")[0].rstrip("0123456789")]
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            tasks = [SENTIMENT] if kind == POSTS else list(LABELS)
            labels = {task: LABELS[task].index(row[task]) for task in tasks}
            name = kind if kind == "events" else f"{kind}-{row['lang']}"
            if kind == "events":
                labels[EVENT] = zlib.crc32(row["scenario"].encode())
            corpus = corpora.setdefault(name, Corpus(name, _POSTS_WEIGHT if kind == POSTS else _OWN_WEIGHT))
            side = corpus.dev if held_out(str(row["scenario"]), dev_share) else corpus.train
            side.append(Example(row["text"], labels, row["lang"]))
    return [corpora[name] for name in sorted(corpora)]


def posts_and_others(corpora: Iterable[Corpus]) -> tuple[list[Corpus], list[Corpus]]:
    """Return the corpora of posts, and the rest: posts are drawn beside the public sets that they are like."""
    found = list(corpora)
    posts = [corpus for corpus in found if corpus.name.startswith(f"{POSTS}-")]
    return posts, [corpus for corpus in found if corpus not in posts]


def own_files() -> list[Path]:
    """Return the files of our own mentions."""
    return sorted(OWN.glob("*.jsonl"))
