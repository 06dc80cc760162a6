"""The todo example in two windows of a real Chromium, with and without a network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from workers.runtime.testing import DevProcess

PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def built(build_example, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_example("todo", tmp_path_factory.mktemp("built"))


@pytest.fixture
def state(built: Path, tmp_path: Path) -> Path:
    """A folder of state in which the table exists."""
    state = tmp_path / "state"
    migrate = ["d1", "migrations", "apply", "todo", "-y", "--config", str(built), "--persist-to", str(state)]
    subprocess.run([sys.executable, "-m", "workers", *migrate], check=True, capture_output=True)
    return state


@pytest.fixture
async def todo(built: Path, state: Path) -> AsyncIterator[DevProcess]:
    async with DevProcess(built / "wrangler.toml", persist_to=state) as process:
        yield process


async def add(page: Page, title: str) -> None:
    await page.get_by_label("What is to be done?").fill(title)
    await page.get_by_role("button", name="Add").click()


async def connected(page: Page) -> None:
    await expect(page.get_by_test_id("status")).to_have_text("Connected")


async def test_what_one_window_adds_ticks_and_deletes_the_other_shows(todo, open_page):
    one, two = await open_page(todo.url), await open_page(todo.url)
    await connected(one)
    await connected(two)

    await add(one, "Buy milk & <b>bread</b>")
    theirs = two.get_by_test_id("todo")
    await expect(theirs).to_have_text(["Buy milk & <b>bread</b>"])
    await one.get_by_role("checkbox").check()
    await expect(theirs).to_have_attribute("data-done", "1")
    await two.get_by_role("checkbox").uncheck()
    await expect(one.get_by_test_id("todo")).to_have_attribute("data-done", "0")
    await two.get_by_role("button", name="Delete Buy milk").click()
    await expect(one.get_by_test_id("todo")).to_have_count(0)
    await expect(two.get_by_label("What is to be done?")).to_be_focused()
    assert open_page.errors == []


async def test_a_lost_network_loses_nothing_on_the_screen(todo, open_page):
    one, two = await open_page(todo.url), await open_page(todo.url)
    await connected(one)
    await connected(two)
    await add(one, "before")
    await expect(two.get_by_test_id("todo")).to_have_text(["before"])

    await one.context.set_offline(True)
    await expect(one.get_by_test_id("status")).not_to_have_text("Connected")
    await add(two, "by the other")
    await expect(two.get_by_test_id("todo")).to_have_count(2)
    await add(one, "without a network")
    await one.get_by_role("checkbox", name="before").check()
    await expect(one.get_by_test_id("todo")).to_have_text(["without a network", "before"])
    await expect(one.get_by_test_id("unsaved")).to_have_text("2 not saved yet")

    await one.context.set_offline(False)
    await connected(one)
    for page in (one, two):
        await expect(page.get_by_test_id("todo")).to_have_text(["without a network", "by the other", "before"])
        await expect(page.get_by_role("checkbox", name="before")).to_be_checked()
    await expect(one.get_by_test_id("unsaved")).to_be_empty()
    assert open_page.errors == []


async def test_a_restart_of_the_server_keeps_the_list(todo, open_page):
    page = await open_page(todo.url)
    await add(page, "stays")
    await expect(page.get_by_test_id("unsaved")).to_be_empty()
    await todo.stop()
    await add(page, "meanwhile")
    await todo.start()
    await expect(page.get_by_test_id("unsaved")).to_be_empty()
    await page.reload()
    await expect(page.get_by_test_id("todo")).to_have_text(["meanwhile", "stays"])
    assert open_page.errors == []


async def test_the_list_fits_a_phone_without_sideways_scrolling(todo, open_page):
    page = await open_page(todo.url, **PHONE)
    await connected(page)
    await add(page, "A" * 150)
    await add(page, "A title of several words that is too long for one line of a small telephone")
    await expect(page.get_by_test_id("todo")).to_have_count(2)
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert open_page.errors == []
