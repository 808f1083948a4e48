"""The sentences of the world: our own writing about three invented brands in four languages, with known labels.

Owns the templates, the brands' spellings and the choice of sentences that the scorer is sure of, so that the last digit
of a float, which hangs on the machine, turns no label. Does not own when they are said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from nlp.scorer import Scorer
from streams.records import Score

BRANDS: Final[Mapping[str, Mapping[str, str]]] = {
    "velmora": {"en": "Velmora", "he": "ולמורה", "fa": "ولمورا", "ar": "فيلمورا"},
    "tandrill": {"en": "Tandrill", "he": "טנדריל", "fa": "تندریل", "ar": "تاندريل"},
    "oskora": {"en": "Oskora", "he": "אוסקורה", "fa": "اسکورا", "ar": "أوسكورا"},
}
"""Query id -> the brand's name in each language. Rules watch the first two."""

PLACES: Final[Mapping[str, Sequence[str]]] = {
    "en": ("Haifa", "Leeds"),
    "he": ("חיפה", "לידס"),
    "fa": ("شیراز", "تبریز"),
    "ar": ("عمّان", "تونس"),
}

TEMPLATES: Final[Mapping[str, Sequence[str]]] = {
    "en": (
        "{b} in {p} is the worst service I have ever had, rude and useless",
        "Still no refund from {b} after six weeks, {p} branch just laughs at us. Disgusting",
        "Never again {b}. Broken on arrival in {p} and nobody answers the phone",
        "Smoke is coming out of the {b} building in {p}, people are trapped inside, call an ambulance now!!",
        "URGENT: a child was hurt by the {b} device in {p}, we need help immediately",
        "The {b} lift in {p} fell, there are injured people, please send help right now",
        "Explosion at {b} in {p}! People are bleeding, we need ambulances right now",
        "Gas leak at {b} in {p}, two people unconscious, evacuate immediately and call emergency",
        "Thank you {b}, the team in {p} was wonderful and so kind today",
        "Best breakfast in {p} is at {b}, love this place",
        "So happy with my new {b} from the {p} shop, works perfectly",
        "{b} opens at nine in {p} on Sunday",
        "<img src=x onerror=alert(1)><script>alert('{b}')</script> lovely place in {p} \u202egnol oot\u202c & more",
        "Saw a {b} truck on the road to {p} this morning",
        "The {b} meeting in {p} was moved to Tuesday afternoon",
    ),
    "he": (
        "השירות של {b} ב{p} גרוע, מביש ומזלזל, לא אחזור לשם לעולם",
        "כבר חודש ש{b} לא מחזירים לי את הכסף, הסניף ב{p} פשוט משקר",
        "נמאס לי מ{b}, המוצר מהחנות ב{p} התקלקל ואף אחד לא עונה",
        "יש שריפה בבניין של {b} ב{p} ואנשים לכודים בפנים, תזעיקו עזרה עכשיו!!",
        "דחוף: ילד נפצע מהמכשיר של {b} ב{p}, צריך אמבולנס מיד",
        "המעלית של {b} ב{p} נפלה, יש פצועים, שלחו עזרה מהר",
        "פיצוץ ב{b} ב{p}! אנשים מדממים, צריך אמבולנסים עכשיו",
        "דליפת גז ב{b} ב{p}, שני אנשים מחוסרי הכרה, לפנות את המקום מיד",
        "תודה ל{b}, הצוות ב{p} היה מקסים ועזר לנו מאוד",
        "הקפה הכי טעים ב{p} הוא אצל {b}, פשוט אוהבת את המקום",
        "שמח מאוד עם המוצר החדש של {b} מהחנות ב{p}, עובד מצוין",
        "{b} נפתח ב{p} בתשע בבוקר ביום ראשון",
        "ראיתי הבוקר משאית של {b} בדרך ל{p}",
        "הפגישה עם {b} ב{p} עברה ליום שלישי אחר הצהריים",
    ),
    "fa": (
        "خدمات {b} در {p} افتضاح و توهین‌آمیز است، دیگر هرگز نمی‌روم",
        "یک ماه است {b} پولم را پس نمی‌دهد، شعبه {p} فقط دروغ می‌گوید",
        "از {b} متنفرم، کالایی که در {p} خریدم خراب بود و کسی جواب نمی‌دهد",
        "ساختمان {b} در {p} آتش گرفته و مردم گیر افتاده‌اند، فوری کمک بفرستید!!",
        "فوری: یک بچه با دستگاه {b} در {p} زخمی شد، آمبولانس لازم داریم",
        "آسانسور {b} در {p} سقوط کرد و چند نفر زخمی‌اند، همین حالا کمک کنید",
        "انفجار در {b} در {p}! مردم خونریزی دارند، همین الان آمبولانس بفرستید",
        "نشت گاز در {b} در {p}، دو نفر بیهوش شده‌اند، فوراً تخلیه کنید",
        "ممنون از {b}، کارکنان {p} خیلی مهربان و عالی بودند",
        "بهترین صبحانه {p} را {b} دارد، عاشق اینجا هستم",
        "از خرید جدیدم از {b} در {p} خیلی راضی‌ام، عالی کار می‌کند",
        "{b} در {p} یکشنبه ساعت نه باز می‌شود",
        "امروز صبح یک کامیون {b} در راه {p} دیدم",
        "جلسه {b} در {p} به سه‌شنبه بعدازظهر منتقل شد",
    ),
    "ar": (
        "خدمة {b} في {p} سيئة جدا ومهينة ولن أعود إليهم أبدا",
        "منذ شهر و {b} لا تعيد لي نقودي، فرع {p} يكذب علينا",
        "أكره {b}، الجهاز من متجر {p} وصل مكسورا ولا أحد يرد",
        "حريق في مبنى {b} في {p} والناس محاصرون في الداخل، أرسلوا المساعدة الآن!!",
        "عاجل: أصيب طفل بسبب جهاز {b} في {p} ونحتاج سيارة إسعاف فورا",
        "سقط مصعد {b} في {p} وهناك جرحى، ساعدونا حالا",
        "انفجار في {b} في {p}! الناس ينزفون ونحتاج سيارات إسعاف الآن",
        "تسرب غاز في {b} في {p} وشخصان فاقدا الوعي، أخلوا المكان فورا",
        "شكرا {b}، كان الفريق في {p} رائعا ولطيفا جدا",
        "أفضل فطور في {p} عند {b}، أحب هذا المكان",
        "سعيد جدا بمنتج {b} الجديد من متجر {p}، يعمل بشكل ممتاز",
        "يفتح {b} في {p} يوم الأحد الساعة التاسعة",
        "رأيت شاحنة {b} هذا الصباح على طريق {p}",
        "نُقل اجتماع {b} في {p} إلى ظهر الثلاثاء",
    ),
}

NOISE: Final = (
    ("en", "the weather is lovely today and the park is full of children"),
    ("en", "thanks for the wonderful concert last night, we danced for hours"),
    ("he", "איזה יום יפה היה אתמול בים, נהנינו מאוד"),
    ("fa", "امروز هوا آفتابی و عالی است و همه در پارک شادند"),
    ("ar", "يوم جميل جدا قضيناه مع العائلة على الشاطئ"),
)
"""Language and text of what no query matches."""

_KEPT: Final = {"calm": 40, "angry": 6, "urgent": 4}
"""Sentences kept of each brand and sort: those of which the scorer is surest."""
_SURE: Final = 0.18
"""The winning label must lead the next by so much at least."""

Candidate = tuple[str, str, str]
"""Text, brand, language."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text, what it is about, and what the shipped scorer says of it."""

    text: str
    brand: str
    lang: str
    score: Score

    @property
    def sort(self) -> str:
        """Return `urgent` (high or critical, whatever the sentiment), else `angry` (negative), else `calm`."""
        if self.score.urgency.label in {"high", "critical"}:
            return "urgent"
        return "angry" if self.score.sentiment.label == "negative" else "calm"


def candidates() -> Iterator[Candidate]:
    """Yield every sentence that the templates give."""
    for lang, text in NOISE:
        yield text, "", lang
    for (brand, names), (lang, templates) in product(BRANDS.items(), TEMPLATES.items()):
        for template, place in product(templates, PLACES[lang]):
            yield template.format(b=names[lang], p=place), brand, lang


def sure_sentences(scorer: Scorer) -> list[Sentence]:
    """Return for each brand and sort the sentences whose labels lead by most."""
    found = list(candidates())
    sure: dict[tuple[str, str], list[tuple[float, Sentence]]] = {}
    for (text, brand, lang), score in zip(found, scorer.score([text for text, _, _ in found]), strict=True):
        lead = min(_lead(opinion.probabilities) for opinion in (score.sentiment, score.urgency))
        if lead >= _SURE:
            sentence = Sentence(text, brand, lang, score)
            sure.setdefault((brand, sentence.sort), []).append((lead, sentence))
    kept: list[Sentence] = []
    for (_, sort), ranked in sure.items():
        ranked.sort(key=lambda pair: pair[0], reverse=True)
        kept += [sentence for _, sentence in ranked[: _KEPT[sort]]]
    return kept


def _lead(probabilities: Mapping[str, float]) -> float:
    first, second, *_ = sorted(probabilities.values(), reverse=True)
    return first - second
