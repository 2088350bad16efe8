"""Deployments for tests: small numbers, one line each."""

from decimal import Decimal
from fractions import Fraction

from farthing.meter.money import Interval
from farthing.meter.own_cost import OwnPlan


def plan(**changes):
    """100 dollars a day fixed, nothing per event, one core a 8,640 events a day at 24 dollars."""
    values = {
        "core_hour_usd": Decimal(1),
        "events_per_s_per_core": Interval.of(1),
        "utilization": Fraction(1, 10),
        "min_worker_cores": 1,
        "broker_cores_per_worker_core": Fraction(0),
        "ledger_cores": 0,
        "stored_bytes_per_event": Interval.of(0),
        "storage_usd_per_gb_month": Decimal(0),
        "retention_days": Fraction(7),
        "network_bytes_per_event": Interval.of(0),
        "network_usd_per_gb": Decimal(0),
        "people_usd_per_month": Decimal(0),
        "one_off_usd": Interval.of(0),
        "horizon_days": 100,
    }
    return OwnPlan(**{**values, **changes})
