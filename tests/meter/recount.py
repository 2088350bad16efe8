"""An independent recount of what an API would have cost, from integer counts at a fixed token ratio.

Nothing of farthing is imported: prices are typed in from the providers' pages, arithmetic is with fractions.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction


def nano_dollars(value):
    wide = Context(prec=200, rounding=ROUND_HALF_EVEN)
    quotient = wide.divide(Decimal(value.numerator), Decimal(value.denominator))
    return quotient.quantize(Decimal("1e-9"), context=wide)


def price(million_in, million_out, tokens_in, tokens_out):
    return (Fraction(million_in) * tokens_in + Fraction(million_out) * tokens_out) / 10**6


def recount(histogram, bytes_per_token, system, framing, answer, million_in, million_out, tier=None):
    """``histogram`` is [(calls, bytes)]; ``tier`` is (above, million_in, million_out)."""
    total = Fraction(0)
    for calls, size in histogram:
        sent = Fraction(size, calls) / Fraction(bytes_per_token) + system + framing
        rates = (million_in, million_out) if tier is None or sent <= tier[0] else tier[1:]
        total += calls * price(*rates, sent, answer)
    return total
