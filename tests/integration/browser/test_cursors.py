"""The cursors example as two people see it, with and without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from workers.runtime.testing import DevProcess

PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def built(build_example, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_example("cursors", tmp_path_factory.mktemp("built"))


@pytest.fixture
async def cursors(built: Path, tmp_path: Path) -> AsyncIterator[DevProcess]:
    async with DevProcess(built / "wrangler.toml", persist_to=tmp_path / "state") as process:
        yield process


async def connected(page: Page) -> None:
    await expect(page.get_by_test_id("status")).to_have_text("Connected")


async def point(page: Page, x: float, y: float, *, click: bool = False) -> None:
    """Point to a place of the board, given in shares of its sides."""
    box = await page.get_by_test_id("board").bounding_box()
    assert box is not None
    left, top = box["x"] + x * box["width"], box["y"] + y * box["height"]
    await (page.mouse.click(left, top) if click else page.mouse.move(left, top))


def cursor_of(page: Page, name: str) -> Locator:
    return page.get_by_test_id("cursor").filter(has_text=name)


def person(page: Page, name: str) -> Locator:
    return page.get_by_test_id("person").filter(has_text=name)


async def test_each_sees_where_the_other_points_to_and_that_they_leave(cursors, open_page):
    ada, bob = await open_page(f"{cursors.url}/?user=Ada"), await open_page(f"{cursors.url}/?user=Bob")
    await connected(ada)
    await connected(bob)
    await expect(person(ada, "Bob")).to_contain_text("not pointing yet")

    await point(bob, 0.1, 0.1)
    await expect(person(ada, "Bob")).to_contain_text("top left")
    await expect(cursor_of(ada, "Bob")).to_be_visible()
    await point(ada, 0.9, 0.9, click=True)
    await expect(person(bob, "Ada")).to_contain_text("bottom right")
    await expect(bob.get_by_test_id("mark")).to_have_count(1)

    await bob.context.close()
    await expect(ada.get_by_test_id("person")).to_have_text(["Ada (you)bottom right"])
    await expect(cursor_of(ada, "Bob")).to_have_count(0)
    late = await open_page(f"{cursors.url}/?user=Late")
    await expect(person(late, "Ada")).to_contain_text("bottom right")
    await expect(late.get_by_test_id("mark")).to_have_count(1)
    assert open_page.errors == []


async def test_the_keyboard_moves_and_marks_like_the_mouse(cursors, open_page):
    ada, bob = await open_page(f"{cursors.url}/?user=Ada"), await open_page(f"{cursors.url}/?user=Bob")
    await connected(ada)
    await connected(bob)
    await ada.get_by_role("application", name="Board").focus()
    for _ in range(3):
        await ada.keyboard.press("Shift+ArrowRight")
    await expect(person(bob, "Ada")).to_contain_text("middle right")
    await ada.keyboard.press("Enter")
    await expect(bob.get_by_test_id("mark")).to_have_count(1)
    assert open_page.errors == []


async def test_a_lost_network_loses_nothing_on_the_screen(cursors, open_page):
    ada, bob = await open_page(f"{cursors.url}/?user=Ada"), await open_page(f"{cursors.url}/?user=Bob")
    await connected(ada)
    await connected(bob)
    await point(ada, 0.2, 0.2, click=True)
    await point(bob, 0.5, 0.2, click=True)
    await expect(ada.get_by_test_id("mark")).to_have_count(2)
    await expect(person(ada, "Bob")).to_contain_text("top centre")

    await ada.context.set_offline(True)
    await expect(ada.get_by_test_id("status")).not_to_have_text("Connected")
    await expect(ada.get_by_test_id("mark")).to_have_count(2)
    await point(ada, 0.1, 0.9, click=True)
    await point(bob, 0.9, 0.9, click=True)
    await expect(ada.get_by_test_id("mark")).to_have_count(3)

    await ada.context.set_offline(False)
    await connected(ada)
    for page in (ada, bob):
        await expect(page.get_by_test_id("mark")).to_have_count(4)
        await expect(page.get_by_test_id("person")).to_have_count(2)
    await expect(person(ada, "Bob")).to_contain_text("bottom right")
    await expect(person(bob, "Ada")).to_contain_text("bottom left")
    assert open_page.errors == []


async def test_the_board_fits_a_phone_without_sideways_scrolling(cursors, open_page):
    page = await open_page(f"{cursors.url}/?user={'A' * 40}", **PHONE)
    await connected(page)
    await point(page, 0.99, 0.5)
    await expect(page.get_by_test_id("cursor")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert open_page.errors == []
