"""The panels of the dashboard "operations": whether events are scored, how fast, and by which workers."""

from __future__ import annotations

from panels import PROCESS, RATE, RECORDED, WHO, WORKER, Panel, Query, Row, graph, stat

OPERATIONS = (
    Row(
        "Now",
        (
            stat(
                "Events a second",
                "Scored events and dead letters of the routes shown.",
                "short",
                f"sum(route:farthing_events:rate5m{RECORDED})",
            ),
            stat(
                "Waiting",
                "Lag: high watermark minus next unacknowledged offset.",
                "short",
                f"sum(route:farthing_lag_events:sum{RECORDED})",
            ),
            stat(
                "Behind",
                "How long the waiting events would take at the current rate, for the route furthest behind.",
                "s",
                f"max(route:farthing_lag_seconds:ratio{RECORDED})",
                (10, 60),
            ),
            stat(
                "99 % are scored within",
                "From the event's Kafka timestamp to the acknowledgement of its score, over the last minute, for the "
                "slowest worker of any route shown.",
                "s",
                f"max(route:farthing_event_latency_p99_seconds:max{RECORDED})",
                (1, 5),
            ),
            stat(
                "Dead letters",
                "Share of events that cannot be scored, for the route with the most.",
                "percentunit",
                f"max(route:farthing_dead_events:ratio_rate5m{RECORDED})",
                (0.001, 0.01),
            ),
            stat(
                "Workers scoring",
                "Worker processes in the state `running`.",
                "none",
                'sum(farthing_worker_state{namespace=~"$namespace", farthing_worker_state="running"})',
            ),
        ),
    ),
    Row(
        "Traffic and lag",
        (
            graph(
                "Events by outcome",
                "Dead events are in the dead-letter topic, with their reason.",
                "short",
                Query(f"sum by (route, outcome) (rate(farthing_events_total{WORKER}{RATE}))", "{{route}} {{outcome}}"),
                stacked=True,
            ),
            graph(
                "Waiting events",
                "Lag. It grows when more events arrive than are scored. Unreadable ones are behind a producer's open "
                "transaction.",
                "short",
                Query(f"route:farthing_lag_events:sum{RECORDED}", "{{route}}"),
                Query(f"sum by (route) (farthing_lag_unreadable_events{WORKER})", "{{route}} unreadable"),
            ),
            graph(
                "Age of an event when its score is acknowledged",
                "For the slowest worker. It includes the time before Farthing, because the producer or the broker sets "
                "the timestamp.",
                "s",
                Query(f"route:farthing_event_latency_p50_seconds:max{RECORDED}", "{{route}} p50"),
                Query(f"route:farthing_event_latency_p99_seconds:max{RECORDED}", "{{route}} p99"),
            ),
            graph(
                "Dead letters by reason",
                "A new reason usually means that a producer changed its format.",
                "short",
                Query(
                    f"sum by (route, reason) (rate(farthing_dead_events_total{WORKER}{RATE}))", "{{route}} {{reason}}"
                ),
                stacked=True,
            ),
            graph(
                "Bytes a second",
                "Fetched and produced bytes are counted as the broker stores them, values uncompressed.",
                "Bps",
                Query(f"sum(rate(farthing_fetched_bytes_total{WORKER}{RATE}))", "fetched"),
                Query(f"sum(rate(farthing_value_bytes_total{WORKER}{RATE}))", "values"),
                Query(f"sum(rate(farthing_produced_bytes_total{WORKER}{RATE}))", "produced"),
            ),
            graph(
                "Events and rows in a block",
                "Large blocks cost less, small ones are quicker. A row is what the model scores.",
                "short",
                Query(
                    f"sum by (route) (rate(farthing_events_total{WORKER}{RATE}))"
                    f" / sum by (route) (rate(farthing_blocks_total{WORKER}{RATE}))",
                    "{{route}} events",
                ),
                Query(
                    f"sum by (route) (rate(farthing_rows_total{WORKER}{RATE}))"
                    f" / sum by (route) (rate(farthing_blocks_total{WORKER}{RATE}))",
                    "{{route}} rows",
                ),
            ),
        ),
    ),
    Row(
        "The ten stages",
        (
            graph(
                "Time an event takes in each stage",
                "Wall time divided by events. Fetch, the seven scoring stages and produce overlap.",
                "s",
                Query(
                    f"sum by (stage) (rate(farthing_stage_seconds_total{PROCESS}{RATE}))"
                    f" / on () group_left () sum(rate(farthing_events_total{WORKER}{RATE}))",
                    "{{stage}}",
                ),
                width=12,
                stacked=True,
            ),
            graph(
                "Busy scoring threads",
                "At 100 % the thread never waits, and the worker can do no more.",
                "percentunit",
                Query(f"worker:farthing_scoring_thread_busy:ratio_rate5m{PROCESS}", WHO),
                width=12,
            ),
        ),
    ),
    Row(
        "Workers",
        (
            graph(
                "Cores in use",
                "CPU seconds used per second.",
                "none",
                Query(f"rate(farthing_cpu_seconds_total{PROCESS}{RATE})", WHO),
            ),
            graph(
                "CPU time of one event",
                "The figure that a release must not make worse.",
                "s",
                Query('namespace:farthing_cpu_seconds_per_event:rate5m{namespace=~"$namespace"}', "all workers"),
            ),
            graph(
                "Workers by state",
                "With a supervisor: processes that answer it, and how often one was restarted.",
                "none",
                Query(f"sum by (farthing_worker_state) (farthing_worker_state{PROCESS})", "{{farthing_worker_state}}"),
                Query(f"sum(farthing_workers{PROCESS})", "answering the supervisor"),
                Query(f"sum(increase(farthing_worker_restarts_total{PROCESS}{RATE}))", "restarted"),
                stacked=False,
            ),
            graph(
                "Partitions of each worker",
                "Equal numbers mean equal work.",
                "none",
                Query(f"farthing_assigned_partitions{PROCESS}", WHO),
            ),
            graph(
                "Held partitions, unreadable batches, lost events, new logs, dropped headers",
                "A held partition is not scored; /ready says why. Lost events were deleted before they were scored.",
                "none",
                Query(f"farthing_halted_partitions{PROCESS}", f"held {WHO}"),
                Query(
                    f"sum by (route) (increase(farthing_corrupt_batches_total{WORKER}{RATE}))", "unreadable {{route}}"
                ),
                Query(f"sum by (route) (increase(farthing_events_lost_total{WORKER}{RATE}))", "lost {{route}}"),
                Query(f"sum by (route) (increase(farthing_new_logs_total{WORKER}{RATE}))", "new logs {{route}}"),
                Query(
                    f"sum by (route, reason) (increase(farthing_dropped_headers_total{WORKER}{RATE}))",
                    "dropped headers {{route}} {{reason}}",
                ),
            ),
            Panel(
                "Models in use",
                "More than one for a route means that a rollout is under way.",
                "none",
                (Query(f"count by (route, model) (farthing_model_info{WORKER})", "{{route}} {{model}}"),),
                kind="stat",
            ),
        ),
    ),
    Row(
        "Bidding",
        (
            graph(
                "Bid requests by outcome",
                "bid, or the reason for not bidding. Requests marked as tests are included.",
                "short",
                Query(
                    f"sum by (route, outcome) (rate(farthing_bid_requests_total{WORKER}{RATE}))",
                    "{{route}} {{outcome}}",
                ),
                stacked=True,
            ),
            graph(
                "Pacing in use",
                "The multiplier applied to the campaign's bids, and updates read from the pacing topic.",
                "none",
                Query(f"min by (route) (farthing_pacing_multiplier{WORKER})", "{{route}}"),
                Query(f"sum by (route) (increase(farthing_pacing_updates_total{WORKER}{RATE}))", "updates {{route}}"),
            ),
        ),
    ),
    Row(
        "Kafka",
        (
            graph(
                "Offset commits",
                "not_ours: the partition was revoked before the commit; its next owner continues from the last commit.",
                "short",
                Query(f"sum by (outcome) (rate(farthing_commits_total{PROCESS}{RATE}))", "{{outcome}}"),
            ),
            graph(
                "Rebalances",
                "How many there were, and for how many seconds workers had no assignment.",
                "short",
                Query(f"sum(increase(farthing_rebalances_total{PROCESS}{RATE}))", "rebalances"),
                Query(f"sum(increase(farthing_rebalance_seconds_total{PROCESS}{RATE}))", "seconds without partitions"),
            ),
            graph(
                "Errors of the broker",
                "Each is retried; nothing is lost.",
                "short",
                Query(f"sum by (stage) (rate(farthing_broker_errors_total{PROCESS}{RATE}))", "{{stage}}"),
            ),
        ),
    ),
)
