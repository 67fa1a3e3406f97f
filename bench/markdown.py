"""Measure the cost of rendering Markdown in the browser, compared to appending the same text as plain text.

    python bench/markdown.py [--rounds N] [--characters N]

An answer of 12,000 characters (headings, lists, tables, code, links) arrives at 200 tokens per second, four characters
each, and is drawn once per frame in a 360 px column that stays scrolled to its end. The CPU time is the renderer
process's own, so other load on the machine hardly affects it. Needs node, Playwright and Chromium.
"""

import argparse
import shutil
import subprocess
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Browser, sync_playwright

WIDGET = Path(__file__).parents[1] / "widget"
SECTION = """## Part {number}: what to do next

You can send anything back within **30 days**, as long as it is *unused* and in its `original_box`. See
[our returns page](https://shop.example.com/returns/{number}) for the small print [1], or write to help@example.com.

1. Find your order number, for example `A4-2093{number}`
2. Print the label
   - at home, or
   - at **any** post office
3. Hand the parcel in

| Country | Parcel | Price |
|:--------|:------:|------:|
| Germany | up to 5 kg | 4.99 |
| Austria | up to 5 kg | 9.49 |

> Refunds take up to *five* days.

```python
def track(number: str) -> dict[str, str]:
    return httpx.get(f"https://api.example.com/parcels/{{number}}").json()
```

"""
RUN = """
async ([text, markdown]) => {
  const scroller = document.body.appendChild(document.createElement('main'));
  const element = scroller.appendChild(document.createElement('div'));
  const node = new Text();
  const labels = { copyCode: 'Copy', copied: 'Copied', showImage: 'Show image', task: 'Task' };
  const rendered = markdown ? Markdown.createMarkdown(element, labels) : (element.append(node), null);
  const longest = { task: 0, update: 0 };
  const updates = [];
  const observer = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) longest.task = Math.max(longest.task, duration);
  });
  observer.observe({ entryTypes: ['longtask'] });
  const start = performance.now();
  for (let shown = 0; shown < text.length;) {
    const now = await new Promise(requestAnimationFrame);
    const length = Math.min(Math.floor((now - start) * 0.8), text.length);
    if (length <= shown) continue;
    const before = performance.now();
    if (rendered) rendered.update(text.slice(0, length), length === text.length);
    else node.appendData(text.slice(shown, length));
    scroller.scrollTop = scroller.scrollHeight;
    updates.push(performance.now() - before);
    shown = length;
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
  observer.disconnect();
  scroller.remove();
  const mean = (list) => list.reduce((sum, value) => sum + value, 0) / list.length;
  const quarter = Math.floor(updates.length / 4);
  return {
    updates: updates.length, longestTask: longest.task, longestUpdate: Math.max(...updates),
    first: mean(updates.slice(0, quarter)), last: mean(updates.slice(-quarter)),
  };
}
"""
STYLE = """
body { margin: 0; font: 15px/1.5 sans-serif; }
main { width: 360px; height: 600px; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
"""


def cpu(browser: Browser) -> float:
    """The renderer's CPU time so far, in seconds."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    return sum(float(process["cpuTime"]) for process in processes if process["type"] == "renderer")


def measure(browser: Browser, script: str, text: str, *, markdown: bool) -> dict[str, Any]:
    page = browser.new_page(viewport={"width": 360, "height": 600})
    page.set_content(f"<style>{STYLE}</style>")
    page.add_script_tag(content=script)
    page.evaluate(
        "document.adoptedStyleSheets = [new CSSStyleSheet()];"
        "document.adoptedStyleSheets[0].replaceSync(String(Markdown.markdownStyles));"
    )
    page.evaluate(RUN, [text[:400], markdown])
    before = cpu(browser)
    result: dict[str, Any] = page.evaluate(RUN, [text, markdown])
    result["cpu"] = cpu(browser) - before
    page.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--characters", type=int, default=12_000)
    options = parser.parse_args()
    command = ["node", "test/bundle.mjs", "window/markdown/index.ts", "Markdown"]
    script = subprocess.run(command, cwd=WIDGET, capture_output=True, check=True, text=True).stdout
    text = "".join(SECTION.format(number=number) for number in range(1000))[: options.characters]
    results: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(options.rounds):
            for markdown, found in results.items():
                found.append(measure(browser, script, text, markdown=markdown))
        browser.close()
    print(f"{'':12}{'CPU s':>8}{'updates':>9}{'first ms':>10}{'last ms':>10}{'longest ms':>12}{'longest task':>14}")
    for markdown, found in results.items():
        middle = {key: median(result[key] for result in found) for key in found[0]}
        print(
            f"{'Markdown' if markdown else 'plain text':12}{middle['cpu']:8.2f}{middle['updates']:9.0f}"
            f"{middle['first']:10.2f}{middle['last']:10.2f}{middle['longestUpdate']:12.1f}{middle['longestTask']:14.0f}"
        )
    ratio = [after["cpu"] / before["cpu"] for before, after in zip(results[False], results[True], strict=True)]
    print(f"Markdown takes {median(ratio):.2f} times the CPU of plain text ({min(ratio):.2f} to {max(ratio):.2f}).")


if __name__ == "__main__":
    main()
