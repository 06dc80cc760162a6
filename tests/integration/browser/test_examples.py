"""The demo app as two people see it, in two profiles of a real Chromium."""

from __future__ import annotations

from playwright.async_api import Page, expect

PHONE = {"width": 360, "height": 740}


async def say(page: Page, text: str) -> None:
    await page.get_by_test_id("message-input").fill(text)
    await page.get_by_test_id("send").click()


async def connected(page: Page) -> None:
    await expect(page.get_by_test_id("status")).to_contain_text("connected", ignore_case=True)


async def test_two_people_chat_and_see_each_other(demo, open_page):
    ada = await open_page(f"{demo.url}/chat?user=Ada&room=tea")
    bob = await open_page(f"{demo.url}/chat?user=Bob&room=tea")
    await connected(ada)
    await connected(bob)

    await say(ada, "Hello Bob, <b>not bold</b>")
    await expect(bob.get_by_test_id("message")).to_contain_text(["Hello Bob, <b>not bold</b>"])
    await say(bob, "Hello Ada ☕")
    await expect(ada.get_by_test_id("message")).to_contain_text(["not bold", "Hello Ada ☕"])

    await expect(ada.get_by_test_id("member")).to_contain_text(["Ada", "Bob"])
    await bob.context.close()
    await expect(ada.get_by_test_id("member")).to_contain_text(["Ada"])
    await expect(ada.get_by_test_id("member")).to_have_count(1)
    assert open_page.errors == []


async def test_chat_history_survives_a_restart_of_the_server(demo, open_page):
    ada = await open_page(f"{demo.url}/chat?user=Ada&room=tea")
    await connected(ada)
    for n in range(3):
        await say(ada, f"message {n}")
    await expect(ada.get_by_test_id("message")).to_have_count(3)
    await demo.stop()
    await demo.start()

    await connected(ada)
    await say(ada, "after the restart")
    await expect(ada.get_by_test_id("message")).to_have_count(4)
    bob = await open_page(f"{demo.url}/chat?user=Bob&room=tea")
    await expect(bob.get_by_test_id("message")).to_contain_text(
        ["message 0", "message 1", "message 2", "after the restart"]
    )
    assert open_page.errors == []


async def test_an_order_appears_changes_and_disappears_in_the_other_window(demo, open_page):
    one = await open_page(f"{demo.url}/live-orders")
    two = await open_page(f"{demo.url}/live-orders")
    await connected(one)
    await connected(two)
    before = await two.get_by_test_id("order").count()

    await one.get_by_test_id("new-customer").fill("Grace Hopper")
    await one.get_by_test_id("new-amount").fill("42.50")
    await one.get_by_test_id("add-order").click()
    theirs = two.get_by_test_id("order").filter(has_text="Grace Hopper")
    await expect(theirs).to_have_count(1)
    await expect(two.get_by_test_id("order")).to_have_count(before + 1)

    status = await theirs.get_attribute("data-status")
    mine = one.get_by_test_id("order").filter(has_text="Grace Hopper")
    await mine.get_by_test_id("advance").click()
    await expect(theirs).not_to_have_attribute("data-status", status or "")

    await mine.get_by_test_id("delete").click()
    await expect(theirs).to_have_count(0)
    assert open_page.errors == []


async def test_both_windows_see_the_same_streamed_answer(demo, open_page):
    asker = await open_page(f"{demo.url}/ai-stream?session=s1&user=Ada")
    viewer = await open_page(f"{demo.url}/ai-stream?session=s1&user=Bob")
    await connected(asker)
    await connected(viewer)

    await asker.get_by_test_id("prompt").fill("Why do objects own their sockets?")
    await asker.get_by_test_id("ask").click()
    await expect(asker.get_by_test_id("ask")).to_be_enabled(timeout=30_000)
    await expect(asker.get_by_test_id("answer")).to_have_attribute("data-done", "true", timeout=30_000)
    await expect(viewer.get_by_test_id("answer")).to_have_attribute("data-done", "true", timeout=30_000)
    text = await asker.get_by_test_id("answer").inner_text()
    assert len(text) > 20
    assert await viewer.get_by_test_id("answer").inner_text() == text
    assert open_page.errors == []


async def test_pages_fit_a_phone_without_sideways_scrolling(demo, open_page):
    for path in ("/", "/chat?user=Ada", "/live-orders", "/ai-stream"):
        page = await open_page(demo.url + path, **PHONE)
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], f"{path} is {width}px wide"
    assert open_page.errors == []
