"""Scrape settings, recording rules and alerts: read by promtool, tried on made-up series, and true to what is exported."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from .exported import asked, check_expression, exported

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
RULE_FILES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TEST_FILES = sorted((PROMETHEUS / "tests").glob("*.yml"))
RULES = [rule for file in RULE_FILES for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"]: rule for rule in RULES if "record" in rule}


@pytest.fixture(scope="session")
def promtool():
    path = shutil.which("promtool")
    if path is None:
        why = "promtool is not installed (Debian: apt-get install prometheus)"
        if os.environ.get("FARTHING_REQUIRE_PROMTOOL", "") not in ("", "0"):
            pytest.fail(f"FARTHING_REQUIRE_PROMTOOL is set, but {why}")
        pytest.skip(why)

    def run(*arguments):
        done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout + done.stderr

    return run


def recorded_labels(known):
    """Give each recorded name the labels that its expression leaves."""
    out = dict(known)
    for name, rule in RECORDED.items():
        names, labels, _ = asked(rule["expr"])
        out[name] = labels.union(*(out[n] for n in names if n in out)) - {"le"}
    return out


def test_the_settings_are_read(promtool):
    code, said = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert code == 0 and "2 rule files found" in said, said


def test_the_rules_are_read(promtool):
    code, said = promtool("check", "rules", *RULE_FILES)
    assert code == 0 and f"{len(ALERTS)} rules found" in said, said


def test_each_alert_fires_and_stays_quiet_as_it_must(promtool):
    code, said = promtool("test", "rules", *TEST_FILES)
    assert code == 0 and said.count("SUCCESS") == len(TEST_FILES), said


@pytest.mark.parametrize("broken", ["vector(1)", "vector(1) > 2"], ids=["always fires", "never fires"])
def test_the_cases_would_notice_an_alert_that(promtool, tmp_path, broken):
    shutil.copytree(PROMETHEUS, tmp_path, dirs_exist_ok=True)
    alerts = yaml.safe_load((tmp_path / "rules" / "alerts.yml").read_text())
    for group in alerts["groups"]:
        for rule in group["rules"]:
            rule["expr"] = broken
            rule.pop("for", None)
    (tmp_path / "rules" / "alerts.yml").write_text(yaml.safe_dump(alerts))
    code, said = promtool("test", "rules", *(tmp_path / "tests" / file.name for file in TEST_FILES))
    assert code != 0
    assert {name for name in ALERTS if f"alertname: {name}," in said} == set(ALERTS)


def test_each_alert_has_a_case_of_both_kinds():
    fires, quiet = set(), set()
    for file in TEST_FILES:
        for case in yaml.safe_load(file.read_text())["tests"]:
            for check in case["alert_rule_test"]:
                (fires if check["exp_alerts"] else quiet).add(check["alertname"])
    assert fires == quiet == set(ALERTS)


def test_each_alert_says_what_happened_what_to_do_and_where_to_read_on():
    page = (DEPLOY.parent / "service" / "OPERATIONS.md").read_text()
    headings = {
        re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)", page, re.M)
    }
    for name, alert in ALERTS.items():
        assert alert["labels"]["severity"] in ("critical", "warning", "info")
        assert set(alert["annotations"]) == {"summary", "action", "runbook_url"}
        url, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert url.endswith("/service/OPERATIONS.md") and anchor == name.lower()
        assert anchor in headings, f"OPERATIONS.md has no section {name}"
        assert len(alert["annotations"]["action"]) > 40


def test_rules_name_only_what_is_exported():
    known = recorded_labels(exported())
    for rule in RULES:
        names = check_expression(rule["expr"], known)
        recorded = [name for name in names if ":" in name]
        assert all(name in RECORDED for name in recorded)
        templates = re.findall(r"\$labels\.(\w+)", str(rule.get("annotations", "")))
        assert set(templates) <= {"instance", "route", "partition", "stage", "model"}


def test_an_expression_that_names_something_else_is_noticed():
    known = exported()
    for wrong in (
        "rate(farthing_event_total[5m])",
        'farthing_worker_state{farthing_worker_state="runing"} == 1',
        "sum by (partition) (farthing_lag_events)",
        'rate(farthing_stage_seconds_total{stage="scores"}[1m])',
        "vector(1)",
    ):
        with pytest.raises(AssertionError):
            check_expression(wrong, known)


def test_every_exported_metric_is_used_by_a_rule_or_a_dashboard():
    text = "".join(file.read_text() for file in (*RULE_FILES, *(DEPLOY / "grafana" / "dashboards").glob("*.json")))
    unused = [n for n in exported() if n not in text and not n.endswith(("_sum", "_count"))]
    assert not unused


def test_jobs_are_named_alike_where_they_are_scraped_and_where_they_are_asked_for():
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    scraped = {job["job_name"] for job in config["scrape_configs"]}
    services = {
        yaml.safe_load((DEPLOY / "kubernetes" / "base" / f"{name}-service.yaml").read_text())["metadata"]["name"]
        for name in ("worker", "ledger")
    }
    asked_for = set(re.findall(r'job="([^"]*)"', "".join(file.read_text() for file in RULE_FILES)))
    assert asked_for == services == scraped - {"prometheus"}


def test_kubernetes_has_the_same_rules():
    script = PROMETHEUS / "kubernetes_rules.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    path = DEPLOY / "kubernetes" / "components" / "monitoring" / "prometheusrule.yaml"
    groups = yaml.safe_load(path.read_text())["spec"]["groups"]
    assert [rule for group in groups for rule in group["rules"]] == RULES
