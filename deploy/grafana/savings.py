"""The panels of the dashboard "savings": what the API would have cost, and what Farthing costs."""

from __future__ import annotations

from panels import LEDGER, OPPONENT, RATE, Query, Row, graph, stat

OWN_USD = f'farthing_ledger_own_cost_usd{LEDGER[:-1]}, estimate="mid"}}'
OWN = f"sum({OWN_USD})"
EVENTS = f'sum(farthing_ledger_events_total{LEDGER[:-1]}, outcome="scored"}})'
SAVINGS = (
    Row(
        "All time, compared with $model ($mode)",
        (
            stat(
                "Saved",
                "Middle estimate: cost of the API minus cost of Farthing. Below zero: stay on the API.",
                "currencyUSD",
                f'sum(farthing_ledger_saved_usd{OPPONENT}, estimate="mid"}})',
            ),
            stat(
                "Saved at least",
                "The lowest API estimate minus the highest own cost.",
                "currencyUSD",
                f'sum(farthing_ledger_saved_usd{OPPONENT}, estimate="low"}})',
            ),
            stat(
                "The API would have cost",
                "Middle estimate, at list prices in the pricing mode chosen above.",
                "currencyUSD",
                f'sum(farthing_ledger_avoided_cost_usd{OPPONENT}, estimate="mid"}})',
            ),
            stat("Farthing cost", "Middle estimate. All reserved cores count, busy or idle.", "currencyUSD", OWN),
            stat("Events scored", "Up to the committed offsets.", "short", EVENTS),
            stat("A million events cost", "Farthing's own cost.", "currencyUSD", f"1e6 * {OWN} / {EVENTS}"),
        ),
    ),
    Row(
        "Over time",
        (
            graph(
                "Cost: the API and Farthing",
                "The API's cost is a range, from low to high, because tokens are estimated, not counted.",
                "currencyUSD",
                Query(f'sum(farthing_ledger_avoided_cost_usd{OPPONENT}, estimate="low"}})', "API, low"),
                Query(f'sum(farthing_ledger_avoided_cost_usd{OPPONENT}, estimate="mid"}})', "API, middle"),
                Query(f'sum(farthing_ledger_avoided_cost_usd{OPPONENT}, estimate="high"}})', "API, high"),
                Query(OWN, "Farthing"),
                width=12,
            ),
            graph(
                "Saved against each model in its cheapest pricing mode",
                "Middle estimates. The lowest curve is the strongest alternative. Choose a single pricing mode above.",
                "currencyUSD",
                Query(f'min by (model) (farthing_ledger_saved_usd{LEDGER[:-1]}, estimate="mid"}})', "{{model}}"),
                width=12,
            ),
            graph(
                "Cost an hour: the API and Farthing",
                "What the last hour cost, and would have cost with the API.",
                "currencyUSD",
                Query(f'sum(delta(farthing_ledger_avoided_cost_usd{OPPONENT}, estimate="mid"}}[1h]))', "API, middle"),
                Query(
                    f'sum(delta(farthing_ledger_own_cost_usd{LEDGER[:-1]}, estimate="mid"}}[1h]))', "Farthing, middle"
                ),
            ),
            graph(
                "Events by route and model",
                "The counts that costs are computed from.",
                "short",
                Query(
                    f"sum by (route, model, outcome) (rate(farthing_ledger_events_total{LEDGER}{RATE}))",
                    "{{route}} {{model}} {{outcome}}",
                ),
                stacked=True,
            ),
            graph(
                "Cores reserved",
                "Core-seconds per second as workers report them. Reserved cores are what you pay for.",
                "none",
                Query(f"sum(rate(farthing_ledger_reserved_core_seconds_total{LEDGER}{RATE}))", "reserved"),
                Query(f"sum(rate(farthing_ledger_cpu_seconds_total{LEDGER}{RATE}))", "in use"),
            ),
        ),
    ),
    Row(
        "The ledger itself",
        (
            graph(
                "Ready",
                "1 when the books are restored and served.",
                "none",
                Query(f"farthing_ledger_ready{LEDGER}", "ready"),
            ),
            graph(
                "Records read and refused",
                "A refused record comes from another version, or not from a worker.",
                "short",
                Query(f"sum(rate(farthing_ledger_records_total{LEDGER}{RATE}))", "read"),
                Query(
                    f"sum by (source, reason) (rate(farthing_ledger_refusals_total{LEDGER}{RATE})) > 0",
                    "refused: {{source}} {{reason}}",
                ),
            ),
            graph(
                "Workers heard from",
                "If fewer than are running, some worker's cost is missing.",
                "none",
                Query(f"sum(farthing_ledger_workers{LEDGER})", "heard from"),
                Query(
                    'sum(farthing_worker_state{namespace=~"$namespace", farthing_worker_state="running"})', "running"
                ),
            ),
        ),
    ),
)
