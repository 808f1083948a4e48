"""Harmless mentions that no organisation needs to hurry for: the control group of an adaptation.

Owns the texts. Does not own what is counted on them (`adapt`, `adapt_figures`). People label what looks urgent, so on
their labels alone a model that cries wolf looks no worse than one that does not: it shows on texts nobody labels. None
of these was a text of training.
"""

from __future__ import annotations

from typing import Final

CALM: Final = (
    "finally tried the new oat latte, pretty nice actually",
    "is the museum shop open on public holidays?",
    "my cousin works there and says the canteen is great",
    "watching the match tonight with the whole family",
    "the blue one looks better than the grey one, just saying",
    "got my parcel today, the box was a bit dented but all fine inside",
    "anybody know when the winter catalogue comes out",
    "their new logo reminds me of a fish",
    "I would love an option to sort my lists by colour",
    "ten years a customer today, time flies",
    "סוף סוף קניתי את הספה שרציתי, יושב עליה עכשיו",
    "מישהו יודע אם הסניף פתוח בשישי?",
    "החולצה הכחולה יפה יותר מהאפורה לדעתי",
    "אחותי עובדת שם ואומרת שנחמד",
    "הגיע החשבון, החודש פחות מהרגיל",
    "הלוגו החדש שלהם דווקא חמוד",
    "חושב לעבור למסלול המשפחתי, שווה?",
    "היה יפה בהצגה אתמול, תודה לכל מי שבא",
    "אפשר להוסיף מצב כהה לאפליקציה?",
    "הקפה שלהם סביר, לא משהו מיוחד",
    "بالاخره کفش جدیدم رسید، رنگش قشنگه",
    "کسی می‌دونه شعبه‌ی مرکزی جمعه‌ها بازه؟",
    "به نظرم طرح قبلی قشنگ‌تر بود",
    "امروز با بچه‌ها رفتیم فروشگاهشون، خلوت بود",
    "کاش می‌شد فهرست خرید رو مرتب کرد",
    "دنبال یه گوشی معمولی می‌گردم، چی پیشنهاد می‌دین؟",
    "بسته با یه روز تأخیر رسید ولی سالم بود",
    "لوگوی جدیدشون بامزه‌ست",
    "ده ساله مشتری‌ام و راضی‌ام",
    "قهوه‌شون معمولیه",
    "وصل الطلب اليوم والتغليف مرتب",
    "هل الفرع الرئيسي مفتوح يوم الجمعة؟",
    "اللون الأزرق أحلى من الرمادي برأيي",
    "يا ليت تضيفون الوضع الليلي للتطبيق",
    "رحت المعرض مع العائلة وكان هادي",
    "أفكر أشتري الساعة الجديدة، وش رأيكم؟",
    "الشعار الجديد حلو بصراحة",
    "القهوة عندهم عادية",
    "صار لي عشر سنين زبون عندهم",
    "تأخرت الرحلة عشر دقائق بس الطاقم لطيف",
    "por fin llegó la lámpara, queda bien en el salón",
    "¿alguien sabe si abren los domingos?",
    "el logo nuevo me recuerda a un pez",
    "me gusta más el azul que el gris",
    "estaría bien poder ordenar la lista por fecha",
    "ayer fuimos a la feria con los niños, había poca gente",
    "estoy pensando en cambiar de tarifa, ¿vale la pena?",
    "el café está normalito",
    "mi hermana trabaja allí y está contenta",
    "diez años de cliente, cómo pasa el tiempo",
)
