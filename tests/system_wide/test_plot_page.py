"""The page of a plot in headless Chromium: its own policy allows all that it does, and nothing is loaded."""

from typing import Any

import pytest

from tests.daemon import ECHOCTL, TOP, Daemon, run
from tests.system_wide.chromium import Browser

pytestmark = pytest.mark.needs_tools

SCREENSHOTS = TOP / "build" / "screenshots"
FORMS: dict[str, Any] = {"wide": {}, "narrow": {"width": 360, "height": 740}, "dark": {"dark": True}}


@pytest.fixture(scope="module")
def plotted(tmp_path_factory):
    """The page of a ping with losses."""
    file = tmp_path_factory.mktemp("plot") / "times.html"
    faults = "[services.echo.faults]\ndrop = 0.1\ndelay = '1ms'\njitter = '1ms'\nseed = 3"
    with Daemon(f'[services.echo]\nlisten = ["udp://127.0.0.1:0"]\n{faults}') as daemon:
        url = daemon.url("echo", "udp")
        run(*ECHOCTL, "ping", "-q", "-c", "200", "-i", "5ms", "-W", "300ms", "--plot", str(file), url)
    return file


@pytest.fixture(scope="module")
def browser():
    with Browser() as running:
        yield running


@pytest.mark.parametrize("form", FORMS)
def test_the_page_draws_both_charts_and_fits_its_window(form, browser, plotted):
    with browser.page(plotted.as_uri(), **FORMS[form]) as page:
        page.wait_for("document.querySelectorAll('.uplot canvas').length === 2")
        assert page.overflow() == 0
        page.screenshot(SCREENSHOTS / f"plot-{form}.png")


def test_values_are_shown_below_the_pointer(browser, plotted):
    with browser.page(plotted.as_uri()) as page:
        page.wait_for("document.querySelectorAll('.uplot canvas').length === 2")
        for number, shown in enumerate(("ms|µs", "%.*(ms|µs)")):
            page.wait_for(  # at different places, because a lost probe has no value
                f"(() => {{ const over = document.querySelectorAll('.u-over')[{number}];"
                " const box = over.getBoundingClientRect(), where = 0.1 + 0.8 * Math.random();"
                " const at = {clientX: box.left + box.width * where, clientY: box.top + box.height / 2, bubbles: true};"
                " for (const kind of ['mouseenter', 'mousemove']) over.dispatchEvent(new MouseEvent(kind, at));"
                f" return /{shown}/.test(document.querySelectorAll('.u-legend')[{number}].textContent) }})()"
            )


def test_a_page_without_replies_says_so(browser, tmp_path):
    file = tmp_path / "times.html"
    with Daemon('[services.discard]\nlisten = ["udp://127.0.0.1:0"]') as daemon:
        url = daemon.url("discard", "udp")
        run(*ECHOCTL, "ping", "-q", "-c", "2", "-i", "10ms", "-W", "100ms", "--plot", str(file), url)
    with browser.page(file.as_uri()) as page:
        page.wait_for("document.querySelectorAll('.uplot canvas').length === 1")
        assert page.text("#distribution") == "no reply"
