"""Text for sample traces: sentences of customers and assistants in ten languages, made quickly.

A pool of sentences is made once for each language; a text is a slice of it. The pools are always the same, so a text
depends on nothing but the random numbers that choose the slice.
"""

import random
from functools import cache

LANGUAGES = {"en": 70, "de": 7, "es": 6, "fr": 5, "ja": 3, "zh": 3, "pt": 2, "ru": 2, "ar": 1, "hi": 1}
"""The languages and their weights."""

EMOJI = ("🙂", "👍", "🚀", "🎉", "❤️", "🤔", "👩🏽‍💻", "🇨🇭", "😅", "✅")

_POOL_CHARACTERS = {"en": 1_500_000}
_SMALL_POOL_CHARACTERS = 128_000

# {n}: something one can buy or read; {c}: a city; {i}: a number; {r}: a reference such as an order's number.
_SENTENCES: dict[str, tuple[str, ...]] = {
    "en": (
        "My order {r} was meant to arrive {i} days ago, and the tracking page still shows {c}.",
        "Could you check whether the {n} is covered by the warranty?",
        "The invoice {r} lists {i} units of the {n}, but we only ordered one.",
        "To change the {n}, open Settings, choose Billing, and confirm with the code we sent you.",
        "According to section {i} of the manual, the {n} must be calibrated before its first use.",
        "I have looked at the {n} you mentioned, and it seems to be delayed in {c}.",
        "Please find attached the {n} for the quarter; the total is {i}.40 EUR.",
        "The {n} returns error code {i} whenever the connection to {c} is slow.",
        "We refund the full amount within {i} working days after the {n} reaches our warehouse in {c}.",
        "First the {n} is read, then every line is compared with reference {r}.",
        "If the {n} does not start, hold the power button for {i} seconds and try again.",
        "Thank you for your patience; a colleague in {c} has taken over ticket {r}.",
        "The document says that the {n} was signed in {c} and is valid for {i} months.",
        "Is there a way to export the {n} as a spreadsheet with {i} columns?",
        "In short: yes, the {n} can be combined with the offer {r}, once for each household.",
        "The service in {c} answered {i} requests a minute while the {n} was being rebuilt.",
        "Our records show two payments for {r}; the second one of {i} USD will be returned.",
        "You can keep using the {n} until the end of the month, after that it becomes read-only.",
    ),
    "de": (
        "Meine Bestellung {r} sollte vor {i} Tagen in {c} ankommen, bisher fehlt jede Spur.",
        "Können Sie prüfen, ob für das Gerät ({n}) noch Garantie besteht?",
        "Auf der Rechnung {r} stehen {i} Stück, geliefert wurde nur eines.",
        "Öffnen Sie bitte die Einstellungen und wählen Sie „Zahlungsweise ändern“.",
        "Die Rückerstattung über {i},90 € erfolgt innerhalb von fünf Werktagen.",
        "Vielen Dank für Ihre Geduld – eine Kollegin in {c} übernimmt den Fall {r}.",
    ),
    "es": (
        "Mi pedido {r} debía llegar hace {i} días y el seguimiento todavía muestra {c}.",
        "¿Podría comprobar si la garantía cubre el producto «{n}»?",
        "La factura {r} incluye {i} unidades, pero solo pedimos una.",
        "Abra la configuración, elija «Facturación» y confirme con el código que le enviamos.",
        "El reembolso de {i},50 € se realizará en cinco días hábiles. ¡Gracias por su paciencia!",
    ),
    "fr": (
        "Ma commande {r} devait arriver il y a {i} jours, et le suivi indique toujours {c}.",
        "Pourriez-vous vérifier si l'article « {n} » est couvert par la garantie ?",
        "La facture {r} mentionne {i} unités, alors que nous n'en avons commandé qu'une.",
        "Le remboursement de {i},20 € sera effectué sous cinq jours ouvrés.",
        "D'après le chapitre {i} du manuel, l'appareil doit être étalonné avant la première utilisation.",
    ),
    "pt": (
        "O meu pedido {r} devia ter chegado há {i} dias e o rastreio ainda mostra {c}.",
        "Pode verificar se a garantia cobre o artigo “{n}”?",
        "A fatura {r} indica {i} unidades, mas só encomendámos uma.",
        "O reembolso de {i},00 € será feito em cinco dias úteis. Obrigado pela paciência!",
    ),
    "ru": (
        "Мой заказ {r} должен был прибыть {i} дней назад, но на странице всё ещё указан город {c}.",
        "Проверьте, пожалуйста, действует ли гарантия на товар «{n}».",
        "В счёте {r} указано {i} штук, хотя мы заказывали одну.",
        "Возврат суммы {i} ₽ займёт до пяти рабочих дней. Спасибо за терпение!",
    ),
    "ja": (
        "注文{r}は{i}日前に届く予定でしたが、追跡ページにはまだ{c}と表示されています。",
        "「{n}」は保証の対象かどうか確認していただけますか。",
        "請求書{r}には{i}個と記載されていますが、注文したのは一個だけです。",
        "設定を開き、「お支払い」を選んで、お送りしたコードで確認してください。",
        "返金は{i}営業日以内に完了します。お待ちいただきありがとうございます。",
    ),
    "zh": (
        "我的订单{r}本应在{i}天前送达，但物流页面仍显示{c}。",
        "请问“{n}”是否在保修范围内？",
        "发票{r}上写着{i}件，但我们只订购了一件。",
        "请打开设置，选择“账单”，然后输入我们发送给您的验证码。",
        "退款将在{i}个工作日内完成，感谢您的耐心等待。",
    ),
    "ar": (
        "كان من المفترض أن يصل طلبي {r} قبل {i} أيام، وما زالت صفحة التتبع تعرض {c}.",
        "هل يمكنك التحقق مما إذا كان الضمان يشمل المنتج «{n}»؟",
        "تذكر الفاتورة {r} عدد {i} وحدات، لكننا طلبنا وحدة واحدة فقط.",
    ),
    "hi": (
        "मेरा ऑर्डर {r} {i} दिन पहले आना था, लेकिन ट्रैकिंग पेज पर अभी भी {c} दिख रहा है।",
        "क्या आप जाँच सकते हैं कि “{n}” वारंटी में है या नहीं?",
        "बिल {r} में {i} इकाइयाँ लिखी हैं, जबकि हमने केवल एक मँगाई थी।",
    ),
}
_THINGS = (
    "coffee grinder", "standing desk", "annual report", "router", "delivery note", "subscription", "data sheet",
    "headset", "purchase agreement", "heat pump", "price list", "backup", "dishwasher", "access token", "lease",
    "solar inverter", "travel policy", "audit log", "e-bike", "insurance certificate", "thermostat", "API key",
)  # fmt: skip
_CITIES = (
    "Rotterdam", "Zürich", "São Paulo", "Leipzig", "Nairobi", "Kraków", "Lyon", "Osaka", "Montréal", "Malmö", "Pune",
    "Trieste", "Boston", "Cairo", "Hanoi", "Porto",
)  # fmt: skip
_PLAIN_CITIES = tuple(city for city in _CITIES if city.isascii())

_WIDTH = {"ja": 1.8, "zh": 1.65, "hi": 1.8, "ru": 1.45, "ar": 1.45}
"""Bytes of a character in UTF-8, where that is not about one."""


def pick_language(rng: random.Random) -> str:
    """A language's code, by weight."""
    return rng.choices(_CODES, cum_weights=_WEIGHTS)[0]


def text(rng: random.Random, language: str, size: int) -> str:
    """A text of about `size` bytes in UTF-8."""
    pool = _pool(language)
    left = max(int(size / _WIDTH.get(language, 1)), 8)
    if left < len(pool) // 2:
        start = rng.randrange(len(pool) - left)
        return pool[start : start + left]
    parts = []
    while left > 0:
        start = rng.randrange(len(pool) // 2)
        parts.append(pool[start : start + min(left, len(pool) // 2)])
        left -= len(parts[-1])
    return "".join(parts)


def sentence(rng: random.Random, language: str) -> str:
    """One sentence; now and then it ends in an emoji."""
    plain = language == "en"
    made = _fill(rng, rng.choice(_SENTENCES[language]), _PLAIN_CITIES if plain else _CITIES)
    return f"{made} {rng.choice(EMOJI)}" if rng.random() < 0.1 else made


def reference(rng: random.Random) -> str:
    """The number of an order, an invoice or a ticket."""
    return f"{rng.choice('ABCDEFGHJKLMNPRSTUVW')}-{rng.randrange(100_000, 999_999)}"


_CODES = tuple(LANGUAGES)
_WEIGHTS = tuple(sum(list(LANGUAGES.values())[: n + 1]) for n in range(len(LANGUAGES)))


def _fill(rng: random.Random, template: str, cities: tuple[str, ...]) -> str:
    return template.format(n=rng.choice(_THINGS), c=rng.choice(cities), i=rng.randrange(2, 999), r=reference(rng))


def _line(rng: random.Random) -> str:
    """A row of a table, a log line or a link: what documents and tools bring in, and compressors like less."""
    kind = rng.randrange(3)
    if kind == 0:
        cells = (f"{rng.randrange(10_000_000)}", f"{rng.random() * 1000:.4f}", rng.choice(_THINGS), reference(rng))
        return f"\n| {' | '.join(cells)} | {rng.random():.6f} |\n"
    if kind == 1:
        return f"[{rng.randrange(10**9, 2 * 10**9)}.{rng.randrange(1000):03}] span={rng.getrandbits(64):016x} ok"
    page = rng.choice(_THINGS).replace(" ", "-")
    return f"https://docs.example.com/{rng.getrandbits(48):x}/{page}#L{rng.randrange(9000)}"


@cache
def _pool(language: str) -> str:
    rng = random.Random(f"pool of {language}")
    # English stays ASCII: Python then keeps it, and everything cut from it, in one byte a character.
    cities = _PLAIN_CITIES if language == "en" else _CITIES
    parts: list[str] = []
    length = 0
    while length < _POOL_CHARACTERS.get(language, _SMALL_POOL_CHARACTERS):
        made = _line(rng) if rng.random() < 0.4 else _fill(rng, rng.choice(_SENTENCES[language]), cities)
        gap = "\n\n" if rng.random() < 0.08 else ("" if language in {"ja", "zh"} else " ")
        parts += (made, gap)
        length += len(made) + len(gap)
    return "".join(parts)
