"""The page in a real Chromium: its numbers are the JSON's, it follows the choices and the clock, and all can read it."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from decimal import Decimal
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.ledger import served_page

REQUIRED = os.environ.get("FARTHING_REQUIRE_CHROMIUM", "") not in ("", "0")
ROOT = Path(__file__).parents[2]
WAIT_S = 30


def program(*names):
    return next((found for found in map(shutil.which, names) if found), None)


@pytest.fixture(scope="module")
def browser():
    chromium, driver = program("chromium", "chromium-browser", "google-chrome"), program("chromedriver")
    if chromium is None or driver is None:
        reason = "no chromium or no chromedriver is installed (Debian: chromium, chromium-driver)"
        if REQUIRED:
            pytest.fail(f"FARTHING_REQUIRE_CHROMIUM is set, but {reason}")
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en-US"):
        options.add_argument(argument)
    # No name but the ledger's can be reached: whatever the page needs, it has from there.
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    opened.set_page_load_timeout(60)
    yield opened
    opened.quit()


class Ledger:
    """A process that serves the page from made-up books, and what its JSON says."""

    def __init__(self, rate, *options):
        self.process = subprocess.Popen(
            [sys.executable, "-m", served_page.__name__, str(rate), *options],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.url = self.process.stdout.readline().strip()
        assert self.url, "the page's process ended"

    def statement(self, **query):
        text = "&".join(f"{name}={value}" for name, value in query.items())
        with urllib.request.urlopen(f"{self.url}/api/statement?{text}", timeout=20) as answer:
            return json.loads(answer.read(), parse_float=Decimal)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def still():
    """Busy books in which time stands still."""
    one = Ledger(120_000, "--still")
    yield one
    one.stop()


@pytest.fixture(scope="module")
def slow():
    """100 events/s; time stands still."""
    one = Ledger(100, "--still")
    yield one
    one.stop()


@pytest.fixture
def page(browser, still):
    yield opened(browser, still)
    assert_no_complaints(browser)


def forget(browser):
    """Leave the page of before, and forget what it complained of."""
    browser.get("about:blank")
    wait(browser, lambda: not browser.get_log("browser"))


def opened(browser, ledger, width=1280, height=900):
    browser.set_window_size(width, height)
    forget(browser)
    browser.get(f"{ledger.url}/")
    browser.execute_script("localStorage.clear()")
    browser.get(f"{ledger.url}/")
    wait(browser, lambda: text(browser, "own-million") != "–")
    return browser


def assert_no_complaints(browser):
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def wait(browser, condition):
    return WebDriverWait(browser, WAIT_S, poll_frequency=0.1).until(lambda _: condition())


def text(browser, name):
    return browser.find_element(By.ID, name).get_attribute("textContent").strip()


def table(browser, name):
    """Texts of a table's cells, read at one moment."""
    return browser.execute_script(
        "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map("
        "(row) => [...row.cells].map((cell) => cell.textContent.trim()))",
        name,
    )


def shown(value):
    """Dollars as the page writes them, from the exact decimal; by other rules than the page's own code."""
    value = Decimal(value)
    sign, size = ("−" if value < 0 else ""), abs(value)
    if size >= 1_000_000:
        digits = max(0, 4 - len(f"{size / 10**6:.0f}"))
        return f"{sign}${size / 10**6:,.{digits}f} M"
    if size >= 100:
        return f"{sign}${size:,.0f}"
    if size >= 1:
        return f"{sign}${size:.2f}"
    return "$0" if size == 0 else f"{sign}${size:.{1 - size.adjusted()}f}"


def interval(of):
    return "" if of["low"] == of["high"] else f"{shown(of['low'])} to {shown(of['high'])}"


def page_is_new(browser):
    """Whether the page says how to send a first event."""
    return browser.find_element(By.ID, "first").is_displayed()


def assert_page_says(browser, body):
    saved = body["saved_usd"]
    assert text(browser, "saved") == shown(abs(saved["mid"]))
    assert f"{body['events']['scored']:,} events scored" in text(browser, "saved-note")
    assert body["model"] in text(browser, "saved-note")
    assert text(browser, "own-million") == shown(body["own"]["usd_per_million"]["mid"])
    assert text(browser, "own-note") == interval(body["own"]["usd_per_million"])
    assert text(browser, "api-million") == shown(body["avoided_usd_per_million"]["mid"])
    assert text(browser, "api-note") == interval(body["avoided_usd_per_million"])
    assert text(browser, "rate") == f"{round(body['events_per_second']):,}"
    assert text(browser, "p99") == f"{body['latency_p99_ms']:,} ms"
    assert not page_is_new(browser)
    assert text(browser, "lag") == f"{body['lag']:,}"
    offered = [o for o in body["opponents"] if o["usd_per_million"] is not None]
    rows = table(browser, "opponents")
    if body["comparison"]["free_endpoint"] is not None:
        assert rows.pop(0)[0] == body["comparison"]["free_endpoint"]["endpoint"]
    assert [row[:4] for row in rows] == [
        [
            o["model"],
            o["label"],
            f"{shown(o['usd_per_million']['mid'])} {interval(o['usd_per_million'])}".strip(),
            f"{shown(o['usd']['mid'])} {interval(o['usd'])}".strip(),
        ]
        for o in offered
    ]
    own = {**body["own"]["by"], "total": body["own"]["usd"]}
    assert table(browser, "own") == [
        [name, f"{shown(usd['mid'])} {interval(usd)}".strip()] for name, usd in own.items()
    ]
    assert [(row[0], row[1], row[4]) for row in table(browser, "tenants")] == [
        (t["tenant"], f"{t['scored']:,}", shown(t["avoided_usd"]["mid"])) for t in body["tenants"]
    ]
    assert [(row[0], row[1], row[4]) for row in table(browser, "workers")] == [
        (w["worker"], w["state"], f"{w['lag']:,}") for w in body["workers"]
    ]
    for price in body["routes"][0]["prices"]:
        assert f"{price['model']}: prices of {price['as_of']} from {price['source']}" in text(browser, "basis")


def test_numbers_on_the_page_are_the_json(page, still):
    body = still.statement(window="day")
    assert_page_says(page, body)
    assert text(page, "saved-title") == "Saved against the API"
    assert "tuned model is cheaper" in text(page, "verdict")
    assert body["comparison"]["verdict"] == "tuned"
    assert len(page.find_elements(By.CSS_SELECTOR, ".chart canvas")) == 2


def choose(page, name, value):
    Select(page.find_element(By.ID, name)).select_by_value(value)


def test_another_model_form_and_time_change_them(page, still):
    seen = set()
    for window, model, mode in (
        ("hour", "openai:gpt-5-nano", "cheapest"),
        ("hour", "anthropic:claude-haiku-5-5", "cheapest"),
        ("hour", "anthropic:claude-haiku-5-5", "naive"),
        ("all", "anthropic:claude-haiku-5-5", "naive"),
        ("minute", "google:gemini-2.5-flash-lite", "packed"),
    ):
        before = text(page, "saved-note")
        for name, value in (("window", window), ("model", model), ("mode", mode)):
            choose(page, name, value)
        body = still.statement(window=window, model=model, mode=mode)
        wait(
            page,
            lambda b=body, old=before: (
                text(page, "saved") == shown(abs(b["saved_usd"]["mid"])) and text(page, "saved-note") != old
            ),
        )
        assert_page_says(page, body)
        chosen = page.find_elements(By.CSS_SELECTOR, "#opponents tr.chosen")
        assert [row.find_element(By.TAG_NAME, "td").text for row in chosen] == [model]
        seen.add((text(page, "saved"), text(page, "api-million")))
    assert len(seen) == 5


def test_at_100_events_a_second_it_says_stay_on_the_api(browser, slow):
    page = opened(browser, slow)
    body = slow.statement(window="day")
    assert_page_says(page, body)
    assert "stay on the API" in text(page, "verdict")
    assert "accepts this volume for free" in text(page, "verdict")
    assert text(page, "saved-title") == "Spent more than the API would have cost"
    assert "bad" in page.find_element(By.ID, "saved").get_attribute("class")
    assert_no_complaints(page)


def test_it_follows_the_books_without_a_reload_and_says_when_nobody_answers(browser):
    ledger = Ledger(50_000)
    try:
        page = opened(browser, ledger)
        page.execute_script("window.notReloaded = true")
        first = text(page, "saved-note"), text(page, "live-text")
        wait(page, lambda: text(page, "saved-note") != first[0] and text(page, "live-text") != first[1])
        assert page.execute_script("return window.notReloaded") is True
        assert page.find_element(By.ID, "live").get_attribute("class") == "on"
        assert_no_complaints(page)
    finally:
        ledger.stop()
    last = text(page, "saved-note")
    wait(page, lambda: page.find_element(By.ID, "live").get_attribute("class") == "off")
    assert text(page, "live-text").startswith("no answer from the ledger")
    assert text(page, "saved-note") == last  # the last figures stay, and are marked as old
    forget(page)  # refused connections are no complaint of the page's


def legend(page, chart):
    """The texts of a chart's legend: label -> value."""
    return page.execute_script(
        "return Object.fromEntries([...document.querySelectorAll(`#${arguments[0]} .u-legend .u-series`)].map("
        "(row) => [row.querySelector('.u-label').textContent, row.querySelector('.u-value').textContent]))",
        chart,
    )


def test_legends_have_values_without_a_pointer(page, still):
    body = still.statement(window="day")
    with urllib.request.urlopen(f"{still.url}/api/history?window=day", timeout=20) as answer:
        past = json.load(answer, parse_float=Decimal)
    last = {"own": shown(past["own_usd"][-1]), "API": shown(past["api_usd"][-1])}
    wait(page, lambda: last.items() <= legend(page, "time-chart").items())
    even = legend(page, "even-chart")
    at = min(
        body["comparison"]["curve"],
        key=lambda p: abs(math.log(p["events_per_day"] / body["comparison"]["events_per_day"])),
    )
    # The page draws logarithms, so the last digit may differ from the exact decimal's.
    assert even["own"].startswith(shown(at["own_usd"]["mid"])[:2])
    canvas = page.find_element(By.CSS_SELECTOR, "#time-chart .u-over")
    ActionChains(page).move_to_element_with_offset(canvas, -canvas.size["width"] // 2 + 2, 0).perform()
    wait(page, lambda: legend(page, "time-chart")["own"] != last["own"])  # the first point's
    ActionChains(page).move_to_element(page.find_element(By.ID, "verdict")).perform()
    wait(page, lambda: last.items() <= legend(page, "time-chart").items())
    time.sleep(1.5)  # the next answer changes nothing
    assert "–" not in {*legend(page, "time-chart").values(), *legend(page, "even-chart").values()}


def background(page):
    return page.execute_script("return getComputedStyle(document.body).backgroundColor")


def test_dark_and_light(page):
    button = page.find_element(By.ID, "theme")
    assert (button.get_attribute("aria-pressed"), button.text) == ("false", "Switch to dark")
    light = background(page)
    button.click()
    assert (button.get_attribute("aria-pressed"), button.text) == ("true", "Switch to light")
    assert background(page) != light
    page.refresh()
    wait(page, lambda: text(page, "own-million") != "–")
    assert background(page) != light  # it is remembered
    page.find_element(By.ID, "theme").click()
    assert background(page) == light


# WCAG 2.1, 1.4.3: relative luminance of sRGB, and contrast of text that is not large.
CONTRAST = """
const luminance = (rgb) => { const [r, g, b] = rgb.match(/[\\d.]+/g).map(Number).map((v) => v / 255)
  .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
  if (!/rgba\\(.*, 0\\)/.test(c)) return c; } return "rgb(255,255,255)"; };
return [...document.querySelectorAll("body *")].filter((e) => e.childNodes.length && [...e.childNodes].some((n) => n.nodeType === 3
  && n.textContent.trim()) && e.getClientRects().length && !["SCRIPT", "OPTION"].includes(e.tagName)).map((e) => {
  const [a, b] = [luminance(getComputedStyle(e).color), luminance(ground(e))].sort((x, y) => y - x);
  return [(a + 0.05) / (b + 0.05), e.tagName + "#" + e.id + "." + e.className + " " + e.textContent.slice(0, 30)]; })
  .filter(([ratio]) => ratio < 4.5);
"""


def test_text_stands_out_in_both_themes(page):
    for _ in range(2):
        assert page.execute_script(CONTRAST) == []
        page.find_element(By.ID, "theme").click()


def test_everything_can_be_reached_by_keyboard(page):
    page.execute_script("document.activeElement.blur()")
    reached = []
    for _ in range(40):
        page.switch_to.active_element.send_keys(Keys.TAB)
        at = page.switch_to.active_element
        if at.tag_name == "body":
            break
        reached.append(at.get_attribute("id") or at.get_attribute("href") or at.get_attribute("class"))
        outline = page.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", reached[-1]
    assert reached[0].endswith("#main")
    assert [name for name in reached if name in ("window", "model", "mode", "theme")] == [
        "window",
        "model",
        "mode",
        "theme",
    ]
    assert any(name.endswith("openapi.json") for name in reached)
    before = text(page, "api-million")
    model = page.find_element(By.ID, "model")
    model.send_keys(Keys.ARROW_DOWN)
    wait(page, lambda: text(page, "api-million") != before)
    page.find_element(By.ID, "theme").send_keys(Keys.SPACE)
    assert page.execute_script("return document.documentElement.dataset.theme") == "dark"


def test_everything_has_a_name(page):
    for element in page.find_elements(By.CSS_SELECTOR, "select, button, a, table"):
        assert element.accessible_name, element.get_attribute("outerHTML")[:200]
    assert len(page.find_elements(By.TAG_NAME, "h1")) == 1


PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}


@pytest.mark.parametrize("name", ["still", "slow"])
def test_it_is_readable_on_a_phone(browser, name, request):
    ledger = request.getfixturevalue(name)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    try:
        page = opened(browser, ledger)
        assert page.execute_script("return innerWidth") == 390
        assert page.execute_script("return document.documentElement.scrollWidth") <= 390
        sizes = page.execute_script(
            "return [...document.querySelectorAll('main *, footer')].filter((e) => e.textContent.trim() && "
            "e.getClientRects().length).map((e) => parseFloat(getComputedStyle(e).fontSize))"
        )
        assert min(sizes) >= 11
        heights = page.execute_script(
            "return ['window', 'model', 'mode', 'theme'].map((n) => document.getElementById(n).offsetHeight)"
        )
        assert min(heights) >= 32
        # Above the fold, or nearly: what was saved.
        assert page.execute_script("return document.getElementById('saved').getBoundingClientRect().bottom") < 844
        for chart in page.find_elements(By.CSS_SELECTOR, ".chart canvas"):
            assert 200 < chart.size["width"] <= 390
        assert_no_complaints(page)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_cards_are_above_the_fold_at_1280(page):
    for name in ("saved", "own-million", "api-million", "rate", "p99", "lag"):
        assert page.execute_script(f"return document.getElementById('{name}').getBoundingClientRect().bottom") < 720
    assert page.execute_script("return document.documentElement.scrollWidth") <= 1280


def test_names_from_outside_are_text(browser):
    """A tenant may be called anything."""
    ledger = Ledger(1_000, "--still", "--tenant", "<img src=x onerror=alert(1)>")
    try:
        page = opened(browser, ledger)
        assert "<img src=x onerror=alert(1)>" in [row[0] for row in table(page, "tenants")]
        assert page.find_elements(By.CSS_SELECTOR, "#tenants img") == []
        assert_no_complaints(page)
    finally:
        ledger.stop()


def test_before_anything_was_scored(browser):
    ledger = Ledger(0, "--still")
    try:
        browser.set_window_size(1280, 900)
        forget(browser)
        browser.get(f"{ledger.url}/")
        wait(browser, lambda: text(browser, "live-text").startswith("live"))
        time.sleep(0.2)
        assert text(browser, "verdict") == "No event has been scored yet."
        assert text(browser, "saved") == text(browser, "api-million") == text(browser, "own-million") == "–"
        assert table(browser, "opponents") == [["nothing yet"]]
        wait(browser, lambda: browser.find_element(By.ID, "first").is_displayed())
        assert "Workers read the topic events.moderation at localhost:9092." in text(browser, "first")
        command = browser.find_element(By.CSS_SELECTOR, "#first pre").text
        with urllib.request.urlopen(f"{ledger.url}/api/routes", timeout=20) as answer:
            assert [route["command"] for route in json.load(answer)] == [command]
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 1280
        assert_no_complaints(browser)
    finally:
        ledger.stop()


@pytest.mark.parametrize(("rate", "verdict"), [(1_000, "At 86.4M events a day"), (0, "Nothing to compare with")])
def test_events_too_large_for_a_model_are_said_and_the_rest_is_shown(browser, rate, verdict):
    ledger = Ledger(rate, "--still", "--large")
    try:
        page = opened(browser, ledger)
        assert text(page, "verdict").startswith(verdict)
        assert text(page, "saved") == text(page, "api-million") == "–"
        assert text(page, "saved-note") == "not known: some events fit into no context window"
        assert text(page, "own-million") != "–"
        basis = page.find_element(By.ID, "basis").get_attribute("textContent")
        assert "events.large: none of its events in this period fits" in basis
        assert_no_complaints(page)
    finally:
        ledger.stop()
