"""The web page: what is served, and (slow) what a person sees in a real browser."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from serving.answers import NOTICE
from serving.keys import add_key
from serving.routes.page import FOLDER
from serving.server import running
from serving.settings import Settings
from tests.serving.browser import PROGRAM, Page, chromium
from tests.serving.test_predictions import as_dicom
from tests.serving.tiny_bundle import encoded, film, loader, write_bundle


def test_the_page_is_served_with_all_it_needs_from_here_alone(client: TestClient) -> None:
    for path in ("/", "/docs"):
        page = client.get(path)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert NOTICE in page.text
        needed = re.findall(r'(?:src|href)="(/page/[^"]+)"', page.text)
        assert needed
        for asset in needed:
            assert client.get(asset).status_code == 200
        assert not re.search(r"https?://|style=|onclick|<script>", page.text)  # what the content security policy forbids
    assert client.get("/page/page.js").headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize("name", ["index.html", "..", "%2e%2e%2fpage.js", "..%2f..%2fapp.py", "page.py", "nothing.css"])
def test_nothing_but_the_assets_is_served_below_page(client: TestClient, name: str) -> None:
    answer = client.get(f"/page/{name}")
    assert answer.status_code == 404 or answer.text == client.get("/").text


def test_the_scripts_never_make_markup_of_what_they_are_told() -> None:
    for script in FOLDER.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|localStorage|indexedDB", script.read_text()
        )


def test_the_model_card_is_the_bundles(client: TestClient) -> None:
    card = client.get("/model/card")
    assert (card.text, card.headers["content-type"]) == ("# A test bundle\n", "text/markdown; charset=utf-8")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    (folder / "phantom.png").write_bytes(encoded(film()))
    (folder / "phantom.dcm").write_bytes(as_dicom(film(seed=2)))
    (folder / "one.png").write_bytes(encoded(film(lungs=1)))
    (folder / "none.png").write_bytes(encoded(film(lungs=0)))
    (folder / "letter.txt").write_text("not a film")
    return folder


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(Settings(), loader(write_bundle(tmp_path_factory.mktemp("page") / "bundle"))) as url:
        yield url


@pytest.fixture
def page(url: str) -> Iterator[Page]:
    with chromium() as page:
        page.open(f"{url}/")
        yield page
        assert not page.complaints, page.complaints  # nothing thrown, nothing blocked by the policy


def answered(page: Page, file: Path) -> None:
    page.choose("#choose", file)
    page.wait(
        f"document.querySelector('#answer').checkVisibility() && document.querySelector('#answer-title').innerText.includes('{file.name}')"
    )
    page.wait("document.querySelector('#film').complete && document.querySelector('#film').naturalWidth > 0")


INKED = """(() => {
    const sheet = document.querySelector('#heat');
    const pixels = sheet.getContext('2d').getImageData(0, 0, sheet.width, sheet.height).data;
    return pixels.some((value, i) => i % 4 === 3 && value > 0);
})()"""
HAND_OVER = """(async () => {
    const data = new DataTransfer();
    const picture = document.createElement('canvas');
    picture.width = picture.height = 100;
    const blob = await new Promise((done) => picture.toBlob(done));
    data.items.add(new File([blob], 'KIND.png', { type: 'image/png' }));
    document.dispatchEvent(new EVENT('KIND', { HOLDER: data, bubbles: true, cancelable: true }));
})()"""


MARKUP = "<img src=x onerror=canary=1><b>bold"
IN_A_BROWSER = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here: apt-get install chromium")


@pytest.mark.slow
def test_the_full_tests_have_a_browser() -> None:
    assert PROGRAM, "no Chromium here, so nobody has looked at the page: apt-get install chromium"


@IN_A_BROWSER
def test_a_film_gets_both_answers_and_the_overlay_in_a_browser_and_a_letter_gets_a_reason(page: Page, films: Path) -> None:
    answered(page, films / "phantom.png")
    low, high = page.evaluate("past[0].answer.severity.brixia_range")
    assert f"Brixia range: {low} to {high}" in page.text("#results")
    assert page.evaluate(INKED)
    page.choose("#choose", films / "letter.txt")
    page.wait("document.querySelector('#problem').innerText.includes('Unsupported file format')")
    assert page.evaluate("document.querySelector('#answer').hidden")
    page.complaints.clear()  # Chromium logs every answer above 399


@pytest.mark.slow
@IN_A_BROWSER
class TestInABrowser:
    def test_a_chosen_film_gets_both_answers_with_their_uncertainty_and_the_overlay(self, page: Page, films: Path) -> None:
        assert page.evaluate("document.querySelector('#answer').hidden")
        answered(page, films / "phantom.png")
        shown = page.text("#results")
        assert "prognosis" in shown and "severity" in shown and "%" in shown and "Brixia global score" in shown
        assert page.evaluate("document.querySelectorAll('#results meter').length") == 6
        assert page.evaluate("document.activeElement.id") == "answer"
        assert "prognosis" in page.text("#status")
        assert page.evaluate(INKED)

    def test_the_slider_changes_the_heat_alone_and_the_task_changes_what_is_shown(self, page: Page, films: Path) -> None:
        answered(page, films / "phantom.dcm")
        page.evaluate(
            "(() => { const o = document.querySelector('#opacity'); o.value = 20; o.dispatchEvent(new Event('input')) })()"
        )
        assert page.evaluate("getComputedStyle(document.querySelector('#heat')).opacity") == "0.2"
        assert page.text("#opacity-value") == "20 %"
        page.evaluate("document.querySelector('#tasks input[value=severity]').click()")
        assert page.evaluate("document.querySelector('#tasks input[value=severity]').checked")

    def test_a_refusal_is_said_with_its_reason_and_the_next_film_clears_it(self, page: Page, films: Path) -> None:
        page.choose("#choose", films / "letter.txt")
        page.wait("!document.querySelector('#problem').hidden")
        assert "Unsupported file format" in page.text("#problem")
        page.choose("#choose", films / "none.png")
        page.wait("document.querySelector('#problem').innerText.includes('No lungs found')")
        assert page.evaluate("document.querySelector('#answer').hidden")
        answered(page, films / "one.png")
        assert page.evaluate("document.querySelector('#problem').hidden")
        assert "Only one lung" in page.text("#warnings")
        page.complaints.clear()  # Chromium logs every answer above 399

    def test_markup_in_a_file_name_or_a_problem_is_text(self, page: Page, films: Path, tmp_path: Path) -> None:
        for file, reaches in (("phantom.png", "#answer-title, #history, #status"), ("letter.txt", "#problem")):
            named = tmp_path / f"{MARKUP}{file}"
            named.write_bytes((films / file).read_bytes())
            page.choose("#choose", named)
            for selector in reaches.split(", "):
                page.wait(f"document.querySelector('{selector}').innerText.includes({json.dumps(named.name)})")
        told = dict.fromkeys(("title", "detail", "advice", "request_id"), MARKUP)
        page.evaluate(f"refuse({{ name: 'film.png' }}, {json.dumps(told)})")
        assert page.text("#problem").count(MARKUP) == len(told)
        assert page.evaluate("document.querySelectorAll('body b, body img').length") == 2  # those of the page itself
        assert page.evaluate("typeof canary") == "undefined"
        page.complaints.clear()  # Chromium logs every answer above 399

    def test_what_happens_is_said_to_a_screen_reader(self, page: Page, films: Path) -> None:
        assert "Research use only, not a medical device." in page.text("[role=note]")
        answered(page, films / "phantom.png")
        assert ("region", "Answer: phantom.png") in page.named() and page.text("#status").startswith("phantom.png: prognosis")
        page.choose("#choose", films / "letter.txt")
        page.wait("!document.querySelector('#problem').hidden")
        assert "alert" in {role for role, _ in page.named()}
        page.complaints.clear()  # Chromium logs every answer above 399

    def test_films_are_dropped_and_pasted(self, page: Page, films: Path) -> None:
        for kind, event, holder in (("drop", "DragEvent", "dataTransfer"), ("paste", "ClipboardEvent", "clipboardData")):
            page.evaluate(HAND_OVER.replace("KIND", kind).replace("EVENT", event).replace("HOLDER", holder))
            page.wait(f"document.querySelector('#problem').innerText.includes('{kind}.png')")  # a blank picture is refused
        page.complaints.clear()

    def test_the_history_shows_earlier_films_of_this_tab_and_forgets_them(self, page: Page, films: Path) -> None:
        answered(page, films / "phantom.png")
        answered(page, films / "phantom.dcm")
        assert page.evaluate("document.querySelectorAll('#history button').length") == 2
        page.evaluate("document.querySelectorAll('#history button')[1].click()")
        assert "phantom.png" in page.text("#answer-title")
        page.evaluate("document.querySelector('#forget').click()")
        assert page.evaluate("document.querySelector('#past').hidden && document.querySelector('#answer').hidden")
        assert page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0

    def test_every_control_is_reached_by_keyboard_and_named_for_a_screen_reader(self, page: Page, films: Path) -> None:
        answered(page, films / "phantom.png")
        page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
        reached = []
        for _ in range(16):
            page.press("Tab", 9)
            reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        for control in ("Skip to the upload", "choose", "opacity", "forget", "Model card"):
            assert control in reached, reached
        named = page.named()
        controls = [
            (role, name) for role, name in named if role in ("button", "slider", "radio", "link", "meter", "image", "textbox")
        ]
        assert all(name for _, name in controls), controls
        assert {"banner", "main", "contentinfo", "status"} <= {role for role, _ in named}

    def test_the_model_card_opens_on_the_page(self, page: Page) -> None:
        page.evaluate("document.querySelector('footer a').click()")
        page.wait("document.querySelector('#page').open")
        assert "A test bundle" in page.text("#page-text")

    def test_where_a_key_is_asked_for_the_page_takes_one_and_keeps_it_no_longer_than_the_tab(
        self, bundle_folder: Path, films: Path, tmp_path: Path
    ) -> None:
        key = add_key(tmp_path / "keys.json", "ward 3", ("predict",))
        guarded = running(Settings(keys_file=tmp_path / "keys.json"), loader(bundle_folder))
        with guarded as url, chromium() as page:
            page.open(f"{url}/")
            page.choose("#choose", films / "phantom.png")
            page.wait("document.querySelector('#problem').innerText.includes('No valid API key')")
            assert page.evaluate("document.activeElement.id") == "key"
            page.call("Input.insertText", text=key)
            page.complaints.clear()  # Chromium logs every answer above 399
            answered(page, films / "phantom.png")
            page.evaluate("document.querySelector('footer a').click()")
            page.wait("document.querySelector('#page-text').innerText.includes('A test bundle')")
            assert not page.complaints
            assert page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0
            page.open(f"{url}/?again")
            assert page.evaluate("document.querySelector('#key').value") == ""

    def test_a_phones_width_needs_no_sideways_scrolling(self, page: Page, url: str, films: Path) -> None:
        page.open(f"{url}/", width=360, height=740)
        answered(page, films / "phantom.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360

    def test_the_interface_is_described_without_help_from_elsewhere(self, page: Page, url: str) -> None:
        page.open(f"{url}/docs")
        page.wait("document.querySelectorAll('section').length > 5")
        assert "POST /predict/batch" in page.text()
