"""The dashboards are what their script makes, ask only for what is exported, and fit their grid."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from .exported import check_expression, exported
from .test_prometheus import promtool, recorded_labels  # noqa: F401 (a fixture)

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}
PANELS = [(name, panel) for name, board in DASHBOARDS.items() for panel in board["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for _, panel in PANELS for target in panel["targets"]]


def test_they_are_what_the_script_makes(tmp_path):
    script = GRAFANA / "dashboards.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert set(DASHBOARDS) == {"operations", "savings"}
    for file in GRAFANA.glob("*.py"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    stale = subprocess.run(
        [sys.executable, str(tmp_path / script.name), "--check"], capture_output=True, text=True, timeout=60
    )
    assert stale.returncode == 1 and stale.stderr.count("stale") == 2


def test_every_expression_names_only_what_is_exported():
    known = recorded_labels(exported())
    for expression in EXPRESSIONS:
        check_expression(expression, known)
    assert len(EXPRESSIONS) > 40


def test_legends_name_labels_that_are_there():
    known = recorded_labels(exported())
    for _, panel in PANELS:
        for target in panel["targets"]:
            names = check_expression(target["expr"], known)
            labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert labels <= set().union(*(known[name] for name in names)) | {"instance", "worker"}, target
            grouped = re.match(r"(?:sum|count|max|min) by \(([^)]*)\)", target["expr"])
            if grouped:
                assert labels <= set(grouped[1].split(", ")), target


def test_prometheus_reads_every_expression(promtool, tmp_path):  # noqa: F811
    rules = []
    for number, expression in enumerate(EXPRESSIONS):
        plain = expression.replace("$__rate_interval", "5m")
        rules.append({"record": f"panel:expression{number}", "expr": re.sub(r"\$\w+", "x", plain)})
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    code, said = promtool("check", "rules", file)
    assert code == 0 and f"{len(rules)} rules found" in said, said


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_have_numbers_of_their_own_and_do_not_overlap(name):
    panels = DASHBOARDS[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_variable_that_is_used_is_offered(name):
    board = DASHBOARDS[name]
    offered = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(board["panels"])))
    assert used <= offered | {"__rate_interval"}
    assert offered - {"datasource"} <= used


def test_panels_say_what_they_show_and_in_what_unit():
    for name, panel in PANELS:
        assert panel["description"].endswith("."), (name, panel["title"])
        assert panel["fieldConfig"]["defaults"]["unit"] in {"short", "none", "s", "percentunit", "Bps", "currencyUSD"}
    titles = [panel["title"] for _, panel in PANELS]
    assert len(set(titles)) == len(titles)


def test_grafana_is_told_where_they_are_and_whom_to_ask():
    compose = yaml.safe_load((GRAFANA.parent / "compose.yaml").read_text())
    mounts = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])
    (provider,) = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "farthing.yml").read_text())["providers"]
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    path = GRAFANA / "provisioning" / "datasources" / "prometheus.yml"
    (source,) = yaml.safe_load(path.read_text())["datasources"]
    host, port = re.fullmatch(r"http://(\w+):(\d+)", source["url"]).groups()
    assert f"127.0.0.1:{port}:{port}" in compose["services"][host]["ports"]
