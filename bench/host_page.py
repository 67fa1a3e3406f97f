"""Measure the widget's cost for its host page: blocking time, layout shift and bytes, with and without the widget.

    python bench/host_page.py HOST_PAGE_URL [--throttle 4] [--runs 5]

Opens the page in Chromium with CPU throttling, once unchanged and once with the script tag's requests blocked, and
prints medians. Needs `playwright` (tests/requirements.txt) and Chromium on the PATH.
"""

import argparse
import shutil
import statistics
from typing import Any

from playwright.sync_api import Browser, sync_playwright

# The page's own long tasks (W3C Long Tasks API). Blocking time is each task's time over 50 ms. Cross-origin frames run
# in other processes, so their tasks don't count.
OBSERVE = """
    window.cost = { blocking: 0, shift: 0 };
    new PerformanceObserver((list) => {
        for (const task of list.getEntries())
            if (task.name === 'self') cost.blocking += Math.max(0, task.duration - 50);
    }).observe({ type: 'longtask', buffered: true });
    new PerformanceObserver((list) => {
        for (const shift of list.getEntries()) if (!shift.hadRecentInput) cost.shift += shift.value;
    }).observe({ type: 'layout-shift', buffered: true });
"""


def measure(browser: Browser, url: str, throttle: float, *, widget: bool) -> dict[str, float]:
    """The page's blocking time and layout shift until a second after load."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = context.new_page()
        if not widget:
            page.route("**/widget.js*", lambda route: route.abort())
        page.add_init_script(OBSERVE)
        cdp = context.new_cdp_session(page)
        cdp.send("Performance.enable")
        cdp.send("Emulation.setCPUThrottlingRate", {"rate": throttle})
        page.goto(url, wait_until="load")
        if widget:
            page.wait_for_function("window.A4ChatWidget?.widgets")
            page.evaluate("new Promise((resolve) => A4ChatWidget.on('ready', resolve))")
        page.evaluate("new Promise((resolve) => setTimeout(resolve, 1000))")
        metrics: dict[str, Any] = {
            entry["name"]: entry["value"] for entry in cdp.send("Performance.getMetrics")["metrics"]
        }
        cost = page.evaluate("cost")
        return {
            "blocking, ms": cost["blocking"],
            "layout shift": cost["shift"],
            "scripts, ms": metrics["ScriptDuration"] * 1000,
            "style and layout, ms": (metrics["LayoutDuration"] + metrics["RecalcStyleDuration"]) * 1000,
        }
    finally:
        context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--throttle", type=float, default=4)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        results = {
            widget: [measure(browser, arguments.url, arguments.throttle, widget=widget) for _ in range(arguments.runs)]
            for widget in (False, True)
        }
        browser.close()
    print(f"{'':24}{'without':>10}{'with':>10}")
    for name in results[True][0]:
        without, with_widget = (statistics.median(run[name] for run in results[widget]) for widget in (False, True))
        print(f"{name:24}{without:10.3f}{with_widget:10.3f}")


if __name__ == "__main__":
    main()
