"""The report in a real browser; `make browser-deps` installs one where that is permitted."""

import shutil

import pytest

SIZES = {"phone": (360, 740), "desktop": (1280, 900)}


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no Chromium: make browser-deps")
    with playwright.sync_playwright() as running:
        # No sandbox, because it does not work for root in a container; the page is our own.
        started = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(report, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(report.html, encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def opened(browser, address):
    """Opens the page; what it says to the console and asks of the network is in `said` and `asked`."""
    pages = []

    def open_page(size="desktop", **options):
        width, height = SIZES[size]
        page = browser.new_page(viewport={"width": width, "height": height}, **options)
        pages.append(page)
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(address)
        return page

    yield open_page
    for page in pages:
        page.close()


def column(page, table, number):
    return page.locator(table).first.locator(f"tbody tr > :nth-child({number})").all_inner_texts()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_opens_without_errors_network_or_sideways_scrolling(opened, report, address, size, scheme):
    page = opened(size, color_scheme=scheme)
    assert page.said == []
    assert page.asked == [address]
    width, _ = SIZES[size]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    boxes = [box.bounding_box() for box in page.locator("figure svg").all()]
    assert len(boxes) == len(report.pictures)
    for box in boxes:
        assert box["width"] > 0.7 * min(width, 480)
        assert box["height"] > 100
        assert box["x"] + box["width"] <= width
    for table in page.locator("table").all():  # may be wide
        assert table.evaluate("t => t.parentElement.matches('.scroll')")


def test_the_widest_table_scrolls_in_its_own_box_on_a_phone(opened):
    page = opened("phone")
    box = page.locator(".scroll").first
    assert box.evaluate("b => b.scrollWidth > b.clientWidth")
    box.evaluate("b => { b.scrollLeft = 1000 }")
    name = page.locator("tbody th").first.bounding_box()
    assert name["x"] >= 0  # the regime's name stays in sight
    assert page.evaluate("document.documentElement.scrollLeft") == 0


def test_a_click_sorts_and_the_third_one_restores(opened):
    page = opened()
    table = "table.sortable"
    names, means = column(page, table, 1), column(page, table, 2)
    numbers = [float(text.split()[0]) for text in means]
    assert names == ["conventional", "warmup", "lerac", "lerac-reversed"]
    heading = page.locator(f"{table} thead th").nth(1)
    seen = []
    for _ in range(3):
        heading.get_by_role("button").click()
        shown = [float(text.split()[0]) for text in column(page, table, 2)]
        seen.append((heading.get_attribute("aria-sort"), shown))
    assert seen == [("ascending", sorted(numbers)), ("descending", sorted(numbers)[::-1]), (None, numbers)]
    assert column(page, table, 1) == names
    assert page.said == []


def test_keys_sort_words_and_empty_cells_stay_last(opened):
    page = opened()
    table = "table.sortable"
    first = page.locator(f"{table} thead th button").first
    first.focus()
    page.keyboard.press("Enter")
    assert column(page, table, 1) == ["conventional", "lerac", "lerac-reversed", "warmup"]
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent").startswith("difference to conventional")
    for _ in range(2):
        page.keyboard.press("Space")
        assert column(page, table, 1)[-1] == "conventional"  # has no difference to itself
    assert page.locator(f"{table} thead th[aria-sort]").first.get_attribute("aria-sort") == "descending"
    assert page.locator(table).first.locator("th[aria-sort]").count() == 1


def test_works_without_javascript(opened, report):
    page = opened("phone", java_script_enabled=False)
    assert page.locator("thead button").count() == 0
    assert page.locator("table").first.is_visible()
    assert page.locator("figure svg").count() == len(report.pictures)
    page.locator("summary").first.click()
    assert page.locator("table.settings").is_visible()


def test_prints_in_black_on_white_with_everything_open(opened):
    page = opened(color_scheme="dark")
    assert not page.locator("table.settings").is_visible()
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 794, "height": 1123})  # A4 at 96 dots per inch
    assert channels(page, "body", "backgroundColor") == [255, 255, 255]
    assert channels(page, "h1", "color") == [0, 0, 0]
    assert page.locator("table.settings").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 794


def test_the_embedded_rows_can_be_read(opened, report):
    page = opened()
    assert page.evaluate("JSON.parse(document.getElementById('results').textContent)") == report.data


def test_text_and_pictures_are_readable_by_night(opened):
    """Contrast of at least 4.5 for text and ink of the figures, as WCAG 2 computes it."""
    for scheme in ("light", "dark"):
        page = opened(color_scheme=scheme)
        ground = channels(page, "body", "backgroundColor")
        for selector in ("h1", ".note", ".facts dt", "thead th", "summary", ".verdict li"):
            assert contrast(channels(page, selector, "color"), ground) >= 4.5, (scheme, selector)
        assert contrast(channels(page, "figure svg", "fill"), ground) >= 4.5, scheme


def channels(page, selector, name):
    text = page.locator(selector).first.evaluate(f"e => getComputedStyle(e).{name}")
    return [int(part) for part in text.removeprefix("rgb(").removesuffix(")").split(",")]


def contrast(one, other):
    def luminance(colour):
        parts = [c / 255 for c in colour]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
