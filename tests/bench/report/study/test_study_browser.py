"""The page in a real browser, as a rater meets it: from the first pair to the saved file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from study_support import Study

from bench.report.study.answers import read_answers
from bench.report.study.results import result_of

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect

LONG_PROMPT = "A close-up photo of a wombat wearing a red backpack and raising both arms in the air. " * 3
WITHOUT_SPACES = "W" * 120

CONTRASTS = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.tagName === "SCRIPT") continue;
    const [one, other] = [light(parse(getComputedStyle(node).color)), light(ground(node))];
    found.push([(Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05), walker.currentNode.data.trim()]);
  }
  return found;
}"""
"""The contrast of every visible text with its ground (WCAG 2.2, 1.4.3)."""


@pytest.fixture
def opened(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a file; the test fails if the page logs anything or asks the network."""
    complaints: list[str] = []
    contexts = []

    def open_page(path: Path, width: int = 1280, height: int = 800, **options: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda asked: asked.url.startswith(("file:", "data:", "blob:")) or complaints.append(asked.url),
        )
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def answer(page: Any, key: str) -> None:
    """Press a key once the page takes the next answer."""
    done = page.locator("#done").get_attribute("value")
    while page.locator("#done").get_attribute("value") == done and page.locator("#compare").is_visible():
        page.keyboard.press(key)
        page.wait_for_timeout(20)


def expect_pair(page: Any, text: str) -> None:
    """Wait for a pair. (The page's security policy forbids what `wait_for_function` does.)"""
    expect(page.locator("#position")).to_have_text(text)


def begin(page: Any) -> None:
    """Begin with the random code, by keyboard."""
    expect(page.get_by_role("button", name="Begin")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_selector("#compare:visible")


def saved(page: Any, folder: Path) -> Path:
    """Save the answers by keyboard, and return their file."""
    page.wait_for_selector("#end:visible")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_a_rater_answers_all_by_keyboard_with_a_reload_in_the_middle(
    study: Study, opened: Callable[..., Any], tmp_path: Path
) -> None:
    page = opened(study.page)
    begin(page)
    assert page.locator("#position").text_content() == "Pair 1 of 8"
    for number in range(7):
        answer(page, ["ArrowLeft", "ArrowRight"][number % 2])
    expect_pair(page, "Pair 4 of 8")
    prompt = page.locator("#prompt").text_content()
    page.reload()
    expect_pair(page, "Pair 4 of 8")
    assert page.locator("#prompt").text_content() == prompt
    assert page.locator("#question-1").locator("..").get_attribute("class") == "question asked-now"
    for number in range(7, 16):
        answer(page, ["ArrowLeft", "ArrowRight"][number % 2])
    path = saved(page, tmp_path)
    found = read_answers([path], study.key)[0]
    assert [one.choices for one in found.answers] == [["left", "right"]] * 8
    assert found.rater in path.name
    text = path.read_text()
    assert not [secret for secret in ("dmd2", "teacher", study.key.seed, study.key.noise) if secret in text]


def test_the_file_is_read_together_with_those_of_other_raters(
    study: Study, opened: Callable[..., Any], tmp_path: Path
) -> None:
    """A rater who looks: each time the noisy image, which is run A's, is told by its pixels on the screen."""
    page = opened(study.page)
    begin(page)
    for number in range(8):
        expect_pair(page, f"Pair {number + 1} of 8")
        side = page.evaluate(
            """() => [...document.querySelectorAll('canvas')].findIndex((canvas) => {
              const copy = new OffscreenCanvas(16, 16).getContext('2d', { willReadFrequently: true });
              copy.drawImage(canvas, 0, 0);
              const pixels = copy.getImageData(0, 0, 16, 16).data;
              return pixels.some((value, i) => value !== pixels[i % 4]);
            })"""
        )
        answer(page, ["ArrowLeft", "ArrowRight"][side])
        answer(page, ["ArrowRight", "ArrowLeft"][side])
    paths = [saved(page, tmp_path)]
    for name in ("anna", "ben"):
        paths.append(study.sent(name, study.answers(name, range(8), ())))
    result = result_of(study.key, read_answers(paths, study.key))
    assert [(one.pairs.count, one.pairs.total) for one in result.questions] == [(8, 8), (0, 8)]


def test_backspace_takes_answers_back_and_an_answer_can_be_changed(
    study: Study, opened: Callable[..., Any], tmp_path: Path
) -> None:
    page = opened(study.page)
    begin(page)
    for _ in range(2):
        answer(page, "ArrowLeft")
    expect_pair(page, "Pair 2 of 8")
    page.keyboard.press("Backspace")
    expect_pair(page, "Pair 1 of 8")
    answer(page, "ArrowRight")
    expect_pair(page, "Pair 2 of 8")
    answer(page, "ArrowLeft")
    page.locator(".question").first.get_by_role("button", name="Right").click()
    for _ in range(13):
        answer(page, "ArrowLeft")
    choices = [one["choices"] for one in json.loads(saved(page, tmp_path).read_text())["answers"]]
    assert choices == [["left", "right"], ["right", "left"], *[["left", "left"]] * 6]


def test_a_held_key_and_a_double_click_give_one_answer(study: Study, opened: Callable[..., Any]) -> None:
    page = opened(study.page)
    begin(page)
    page.wait_for_timeout(100)
    page.keyboard.down("ArrowLeft")
    page.keyboard.down("ArrowLeft")  # the repeat of a held key
    page.keyboard.up("ArrowLeft")
    assert page.locator("#done").get_attribute("value") == "1"
    page.keyboard.press("Backspace")
    page.wait_for_timeout(100)
    page.locator("#images button").first.dblclick()
    assert page.locator("#done").get_attribute("value") == "1"


def test_raters_see_other_orders_and_sides(study: Study, opened: Callable[..., Any]) -> None:
    seen = set()
    for _ in range(3):
        page = opened(study.page)
        begin(page)
        kept = json.loads(page.evaluate("Object.values(localStorage)[0]"))
        assert sorted(kept["order"]) == sorted(pair.name for pair in study.key.pairs)
        seen.add((*kept["order"], *kept["sides"]))
    assert len(seen) == 3


def test_the_code_can_be_typed_and_a_bad_one_is_not_taken(study: Study, opened: Callable[..., Any]) -> None:
    page = opened(study.page)
    page.locator("#rater").fill("no spaces please")
    page.keyboard.press("Enter")
    assert page.locator("#start").is_visible()
    page.locator("#rater").fill("anna-1")
    page.keyboard.press("Enter")
    assert "anna-1" in (page.locator("#kept").text_content() or "")


def test_hostile_prompts_are_shown_as_they_are(make: Callable[..., Study], opened: Callable[..., Any]) -> None:
    prompt = '</script><img src="https://evil.example/x.png" onerror="alert(1)"> &amp; {{ 7 * 7 }}'
    page = opened(make(pairs=1, prompts=(prompt,)).page)
    begin(page)
    expect_pair(page, "Pair 1 of 1")
    assert page.locator("#prompt").text_content() == prompt
    assert page.locator("img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_enough_contrast(study: Study, opened: Callable[..., Any], scheme: str) -> None:
    page = opened(study.page, color_scheme=scheme)
    low = [one for one in page.evaluate(CONTRASTS) if one[0] < 4.5]
    begin(page)
    answer(page, "ArrowLeft")
    low += [one for one in page.evaluate(CONTRASTS) if one[0] < 4.5]
    for _ in range(15):
        answer(page, "ArrowLeft")
    page.wait_for_selector("#end:visible")
    low += [one for one in page.evaluate(CONTRASTS) if one[0] < 4.5]
    assert low == []


@pytest.mark.parametrize(("width", "height"), [(390, 844), (320, 568), (844, 390), (1280, 800)])
def test_nothing_overflows_and_the_questions_are_in_view(
    make: Callable[..., Study], opened: Callable[..., Any], width: int, height: int
) -> None:
    prompts = (LONG_PROMPT, WITHOUT_SPACES, "a cat")
    page = opened(make(pairs=3, side=256, prompts=prompts).page, width, height)

    def overflow() -> int:
        return page.evaluate("document.documentElement.scrollWidth - innerWidth")

    assert overflow() <= 0
    begin(page)
    for number in range(3):
        expect_pair(page, f"Pair {number + 1} of 3")
        assert overflow() <= 0
        if height >= 800:
            assert page.evaluate("document.documentElement.scrollHeight - innerHeight") <= 0
        answer(page, "ArrowLeft")
        answer(page, "ArrowLeft")
    page.wait_for_selector("#end:visible")
    assert overflow() <= 0
