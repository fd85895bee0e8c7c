"""Random values of many types, as the text that PostgreSQL reads them from."""

from collections.abc import Callable, Mapping
from random import Random

# What breaks a program that builds SQL, JSON, COPY or a plugin's text out of values by hand.
ODD_TEXTS = (
    "",
    " ",
    "'",
    '"',
    "\\",
    "\\N",
    "\\.",
    "\\x41",
    "tab\there",
    "two\nlines",
    "return\r\nnewline",
    "it''s",
    "null",
    "NULL",
    "unchanged-toast-datum",
    "text[text]:'x' new-tuple: ",
    "a[integer]:1 b[text]:'",
    "'); drop table app.ledger; --",
    "%s %(name)s {0} $1 $$ :x ?",
    "{a,NULL}",
    "ünïcödé 漢字 🐘",
    "\u202eright to left",
    "\x01\x1f\x7f\b\f",
)
_SPECIAL_FLOATS = ("NaN", "Infinity", "-Infinity")


def text(random: Random) -> str:
    """Return a short text, half of the time one that is likely to be mistreated."""
    if random.random() < 0.5:
        return random.choice(ODD_TEXTS)
    return f"{random.choice(ODD_TEXTS)}{random.getrandbits(32):x}{random.choice(ODD_TEXTS)}"


def _digits(random: Random, most: int) -> str:
    return str(random.randrange(10 ** random.randint(1, most)))


def _numeric(random: Random) -> str:
    return f"{random.choice(['', '-'])}{_digits(random, 40)}.{_digits(random, 30)}"


def _quoted(*texts: str) -> str:
    """Return texts as the elements of an array, or the fields of a row, between its delimiters."""
    escaped = (item.replace("\\", "\\\\").replace('"', '\\"') for item in texts)
    return ",".join(f'"{item}"' for item in escaped)


def _json_string(value: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\"}
    return "".join(
        escapes.get(char, f"\\u{ord(char):04x}" if char < " " else char) for char in value
    )


def _float8(random: Random) -> str:
    simple = random.choice(["0", "-0", "0.1", "5e-324", "1.7976931348623157e308", "-1e15"])
    return random.choice([simple, repr(random.uniform(-1e9, 1e9))])


def _float4(random: Random) -> str:
    return random.choice(["0", "-0", "1.1754944e-38", "3.4028235e38", f"{random.random():.5f}"])


def _date(random: Random) -> str:
    day = f"{random.randint(1, 9999):04}-{random.randint(1, 12):02}-{random.randint(1, 28):02}"
    return random.choice([day, day, "0044-03-15 BC", "infinity", "-infinity", "99999-12-31"])


def _time(random: Random) -> str:
    hour, minute, micro = random.randrange(24), random.randrange(60), random.randrange(60_000_000)
    return f"{hour:02}:{minute:02}:{micro / 1e6:09.6f}"


def _moment(random: Random) -> str:
    year, month, day = random.randint(1, 9999), random.randint(1, 12), random.randint(1, 28)
    moment = f"{year:04}-{month:02}-{day:02} {_time(random)}"
    return random.choice([moment, moment, "infinity", "-infinity"])


def _zoned(random: Random) -> str:
    moment = _moment(random)
    return moment if "infinity" in moment else f"{moment}{random.choice(['+00', '-07:30', '+14'])}"


def _interval(random: Random) -> str:
    years, days, micros = random.randint(-9, 9), random.randint(-40, 40), random.getrandbits(40)
    return f"{years} years {random.randint(-20, 20)} mons {days} days {micros / 1e6:.6f} secs"


def _range(random: Random) -> str:
    low = random.randint(-100, 100)
    some = f"[{low},{low + random.randint(1, 50)})"
    return random.choice([some, some, "empty", f"({low},)", "(,)"])


def _moments(random: Random) -> str:
    day = random.randint(1, 20)
    return f'["2026-01-{day:02} 00:00:00+00","2026-02-{day:02} 12:34:56.789+02"]'


def _bits(random: Random, count: int) -> str:
    return "".join(random.choice("01") for _ in range(count))


def _integers(random: Random) -> str:
    return random.choice(["{}", "{1,NULL,-3}", "{{1,2},{3,4}}", "[-1:1]={7,8,9}"])


def _mac(random: Random) -> str:
    return ":".join(f"{random.randrange(256):02x}" for _ in range(6))


_MOODS = ["happy", "it's", 'a, "b"', "back\\slash", ""]

VALUES: Mapping[str, Callable[[Random], str]] = {
    "i2": lambda random: str(random.randint(-32768, 32767)),
    "i8": lambda random: str(random.randint(-(2**63), 2**63 - 1)),
    "n": _numeric,
    "n2": lambda random: f"{random.randint(-(10**10), 10**10)}.{random.randrange(1000):03}",
    "f4": _float4,
    "f8": _float8,
    "b": lambda random: random.choice(["t", "f"]),
    "t": text,
    "v": lambda random: text(random)[:60],
    "c": lambda random: text(random)[:7],
    "ba": lambda random: "\\x" + random.randbytes(random.randint(0, 40)).hex(),
    "d": _date,
    "tm": _time,
    "tmz": lambda random: _time(random) + random.choice(["+00", "-15:59", "+05:30"]),
    "ts": _moment,
    "tsz": _zoned,
    "iv": _interval,
    "j": lambda random: f'{{"a" : [1.50, 1e400, null],  "a":"{_json_string(text(random))}"}}',
    "jb": lambda random: f'{{"k":"{_json_string(text(random))}","n":{_numeric(random)}}}',
    "u": lambda random: f"{random.getrandbits(128):032x}",
    "ia": _integers,
    "ta": lambda random: f"{{NULL,{_quoted(text(random), 'NULL', text(random))}}}",
    "na": lambda random: f"{{{_numeric(random)},NULL,1.10}}",
    "fa": lambda random: f"{{{_float8(random)},NULL,0.1}}",
    "r4": _range,
    "rn": _range,
    "rt": _moments,
    "mr": lambda random: random.choice(["{}", "{[1,3),[7,9)}", "{(,5)}"]),
    "m": lambda random: random.choice(_MOODS),
    "ma": lambda random: f"{{{_quoted(*random.sample(_MOODS, 2))}}}",
    "pc": lambda random: f"{random.randrange(100)}.{random.randrange(100):02}",
    "pr": lambda random: f"({random.randrange(99)},{_quoted(text(random))})",
    "pra": lambda random: '{"(1,\\"x y\\")",NULL,"(,)"}',
    "bt": lambda random: _bits(random, 5),
    "vb": lambda random: _bits(random, random.randint(0, 20)),
    "ip": lambda random: random.choice(["192.168.0.1/24", "::1", "10.0.0.7"]),
    "net": lambda random: random.choice(["10.0.0.0/8", "2001:db8::/32"]),
    "mac": _mac,
    "pt": lambda random: f"({_float8(random)},{random.randint(-9, 9)})",
    "bx": lambda random: "((1,1),(0,0.5))",
    "tv": lambda random: "'it''s':1 word:2A",
}
"""A maker of values for each column of the table ``app.everything``."""

SPECIALS: Mapping[str, tuple[str, ...]] = {
    "n": _SPECIAL_FLOATS,
    "f4": _SPECIAL_FLOATS,
    "f8": _SPECIAL_FLOATS,
    "na": ("{NaN,Infinity}",),
    "fa": ("{NaN,-Infinity}",),
}
"""Values that are no numbers. wal2json 2.5 prints those of single numbers as null, so that what
they were cannot be known of its stream (its issue 255)."""


def row(random: Random, *, specials: bool) -> dict[str, str | None]:
    """Return values for some of the columns: any of them may be null, or odd."""
    columns = random.sample(list(VALUES), random.randint(3, len(VALUES)))
    values: dict[str, str | None] = {}
    for column in columns:
        chance = random.random()
        if chance < 0.1:
            values[column] = None
        elif specials and chance < 0.3 and column in SPECIALS:
            values[column] = random.choice(SPECIALS[column])
        else:
            values[column] = VALUES[column](random)
    return values
