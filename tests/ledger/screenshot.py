"""A picture of a ledger's page: ``python -m tests.ledger.screenshot URL FILE.png [--dark] [--width 1280] [--height N]``.

Pictures for documents are made so from a run of ``farthing demo``. Colours are reduced to a palette, for its size.
"""

import argparse
import io
import time

from PIL import Image
from selenium import webdriver

from tests.ledger.test_page import program

SETTLE_S = 4.0  # the page asks its ledger every second


def picture(url, *, width=1280, height=None, dark=False, mobile=False):
    """Give a PNG image of the page; ``height`` None takes all of it."""
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium", "chromium-browser", "google-chrome")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--lang=en-US"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(program("chromedriver")))
    try:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        size = {"width": width, "height": height or 900, "deviceScaleFactor": 1, "mobile": mobile}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(url)
        time.sleep(SETTLE_S)
        if height is None:
            size["height"] = browser.execute_script("return document.documentElement.scrollHeight")
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            time.sleep(SETTLE_S / 2)
        return Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    finally:
        browser.quit()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("file")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--mobile", action="store_true")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int)
    asked = parser.parse_args()
    image = picture(asked.url, width=asked.width, height=asked.height, dark=asked.dark, mobile=asked.mobile)
    image.quantize(256, dither=Image.Dither.NONE).save(asked.file, optimize=True)
