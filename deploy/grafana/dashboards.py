"""Writes Farthing's two Grafana dashboards: ``python deploy/grafana/dashboards.py`` writes them, ``--check`` compares.

The JSON is generated, never edited: copy changes from Grafana's editor to here by hand. Panels are laid
out left to right in rows of 24 columns. What they show is in operations.py and savings.py; every expression names
a metric that Farthing exports or a recording rule (tests/deploy/test_dashboards.py).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from operations import OPERATIONS
from panels import Panel, Row
from savings import SAVINGS

FOLDER = Path(__file__).with_name("dashboards")
COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def panel_json(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    """Give a panel in Grafana's form, at its place."""
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.limits is not None:
        yellow, red = panel.limits
        steps = [
            {"color": "green", "value": None},
            {"color": "yellow", "value": yellow},
            {"color": "red", "value": red},
        ]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    if panel.kind == "stat":
        options: dict[str, Any] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area"}
    else:
        stacking = {"mode": "normal" if panel.stacked else "none"}
        defaults["custom"] = {"fillOpacity": 20 if panel.stacked else 0, "stacking": stacking, "showPoints": "never"}
        options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + i), "expr": query.expr, "legendFormat": query.legend, "datasource": SOURCE}
            for i, query in enumerate(panel.queries)
        ],
    }


def lay_out(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Give all panels their numbers and places."""
    out: list[dict[str, Any]] = []
    y = 0
    for row in rows:
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        out.append(
            {"id": len(out) + 1, "type": "row", "title": row.title, "gridPos": place, "collapsed": False, "panels": []}
        )
        y += 1
        x = line = 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, line = 0, y + line, 0
            out.append(panel_json(panel, len(out) + 1, x, y))
            x, line = x + panel.width, max(line, panel.height)
        y += line
    return out


def variable(name: str, label: str, query: str, *, many: bool) -> dict[str, Any]:
    """Give a choice at the head of a dashboard, filled by a query; ``many`` offers "all"."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "includeAll": many,
        "multi": many,
        "allValue": ".*" if many else None,
        "current": {"text": "All", "value": "$__all"} if many else {},
    }


def dashboard(
    uid: str, title: str, says: str, rows: Sequence[Row], variables: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Give a whole dashboard in Grafana's form."""
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}}
    namespace = variable("namespace", "Namespace", 'label_values(up{job=~"farthing-.*"}, namespace)', many=True)
    return {
        "uid": uid,
        "title": title,
        "description": says,
        "tags": ["farthing"],
        "schemaVersion": 39,
        "editable": False,
        "timezone": "browser",
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [{"type": "dashboards", "title": "Farthing", "tags": ["farthing"], "keepTime": True}],
        "templating": {"list": [source, namespace, *variables]},
        "panels": lay_out(rows),
    }


def make() -> dict[str, str]:
    """Give the text of each file."""
    route = variable("route", "Route", "label_values(farthing_lag_events, route)", many=True)
    model = variable("model", "Compared with", "label_values(farthing_ledger_saved_usd, model)", many=False)
    mode = variable("mode", "Pricing mode", "label_values(farthing_ledger_saved_usd, mode)", many=False)
    made = {
        "operations.json": dashboard(
            "farthing-operations",
            "Farthing: operations",
            "Whether events are scored, how fast, and by which workers. Runbook: service/OPERATIONS.md.",
            OPERATIONS,
            (route,),
        ),
        "savings.json": dashboard(
            "farthing-savings",
            "Farthing: savings",
            "What the events would have cost with an API, and what they cost here. Runbook: service/OPERATIONS.md.",
            SAVINGS,
            (model, mode),
        ),
    }
    return {name: json.dumps(value, indent=1) + "\n" for name, value in made.items()}


def main(arguments: Sequence[str]) -> int:
    """Write the files, or with ``--check`` name those that are stale (exit 1)."""
    stale = 0
    for name, text in make().items():
        path = FOLDER / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if list(arguments) == ["--check"]:
            sys.stderr.write(f"{path}: stale; run python deploy/grafana/dashboards.py\n")
            stale = 1
        else:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
