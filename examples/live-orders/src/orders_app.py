"""A board of orders: pages and HTTP API. The live part needs no code here.

Every statement below runs on the D1 database `DB`; flarelet turns each committed row change into a realtime event on
the topic `table/orders`, whoever made the change.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from json_api import Refused, read_object, require_method
from pages import Pages

from workers import Request, Response

pages = Pages("/live-orders", Path(__file__).resolve().parent / "page")

STATUSES = ("new", "packed", "shipped", "delivered")
MAX_CUSTOMER = 60
MAX_AMOUNT = Decimal(100_000)
MAX_AMOUNT_DIGITS = 20
MAX_ORDERS = 500

_CREATE = """
CREATE TABLE IF NOT EXISTS orders (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  customer TEXT NOT NULL,
  amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
  status TEXT NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'packed', 'shipped', 'delivered'))
)
"""
_SEED = (
    ("Nordlicht Café", 18_450, "delivered"),
    ("Marta Oliveira", 6_200, "shipped"),
    ("Studio Hanabi", 42_900, "packed"),
    ("Kofi Mensah", 2_375, "new"),
)


async def respond(request: Request, env: Any, path: str) -> Response | None:
    """Answer what belongs to this example, None for every other path."""
    if page := pages.respond(request, path):
        return page
    match = re.fullmatch(r"/api/orders(?:/([0-9]{1,15})(/advance)?)?", path)
    if match is None:
        return None
    try:
        await _prepare(env.DB)
        if match[1] is None:
            return await _orders(request, env.DB)
        if match[2] is None:
            return await _order(request, env.DB, int(match[1]))
        return await _advance(request, env.DB, int(match[1]))
    except Refused as refused:
        return refused.response()


async def _prepare(db: Any) -> None:
    """Create the table, and fill it when it is new. Cheap when it is there, so every request may ask."""
    if await db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'orders'").first() is not None:
        return
    rows = " UNION ALL ".join("SELECT ?, ?, ?" for _ in _SEED)
    seed = db.prepare(
        f"INSERT INTO orders (customer, amount_cents, status) SELECT * FROM ({rows}) "
        "WHERE NOT EXISTS (SELECT 1 FROM orders)"
    ).bind(*(value for row in _SEED for value in row))
    # A batch is one transaction: of two first requests, one seeds and the other finds rows.
    await db.batch([db.prepare(_CREATE), seed])


async def _orders(request: Request, db: Any) -> Response:
    require_method(request, "GET", "POST")
    if request.method == "GET":
        result = await db.prepare("SELECT * FROM orders ORDER BY id DESC").all()
        return Response.json({"orders": result.results})
    customer, amount_cents = _parse(await read_object(request))
    # One statement, so that two windows at the limit cannot both slip in.
    order = await (
        db.prepare(
            "INSERT INTO orders (customer, amount_cents) SELECT ?, ? "
            "WHERE (SELECT count(*) FROM orders) < ? RETURNING *"
        )
        .bind(customer, amount_cents, MAX_ORDERS)
        .first()
    )
    if order is None:
        raise Refused(409, f"the board is full ({MAX_ORDERS} orders): delete some first")
    return Response.json({"order": order}, status=201, headers={"location": f"/api/orders/{order['id']}"})


async def _order(request: Request, db: Any, order_id: int) -> Response:
    require_method(request, "GET", "DELETE")
    if request.method == "GET":
        order = await db.prepare("SELECT * FROM orders WHERE id = ?").bind(order_id).first()
        if order is not None:
            return Response.json({"order": order})
    elif await db.prepare("DELETE FROM orders WHERE id = ? RETURNING id").bind(order_id).first() is not None:
        return Response(None, status=204)
    raise Refused(404, f"there is no order {order_id}")


async def _advance(request: Request, db: Any, order_id: int) -> Response:
    """Move an order one status on; `{"from": "packed"}` refuses when it is not where the sender saw it."""
    require_method(request, "POST")
    expected = (await read_object(request)).get("from")
    if expected is not None and expected not in STATUSES:
        raise Refused(400, f"from must be one of {', '.join(STATUSES)}")
    status = await db.prepare("SELECT status FROM orders WHERE id = ?").bind(order_id).first("status")
    if status is None:
        raise Refused(404, f"there is no order {order_id}")
    if status == STATUSES[-1]:
        raise Refused(409, f"order {order_id} is {status}: there is no next status")
    # Two people who press at the same time advance it once: the statement looks at the status again.
    order = None
    if expected in (None, status):
        order = await (
            db.prepare("UPDATE orders SET status = ? WHERE id = ? AND status = ? RETURNING *")
            .bind(STATUSES[STATUSES.index(status) + 1], order_id, status)
            .first()
        )
    if order is None:
        raise Refused(409, f"order {order_id} is no longer {expected or status}")
    return Response.json({"order": order})


def _parse(order: dict[str, Any]) -> tuple[str, int]:
    """Return the customer and the amount in cents, or refuse with what is wrong."""
    customer, amount = order.get("customer"), order.get("amount")
    if not isinstance(customer, str) or not 1 <= len(customer := " ".join(customer.split())) <= MAX_CUSTOMER:
        raise Refused(400, f"customer must have 1 to {MAX_CUSTOMER} characters")
    if isinstance(amount, bool) or not isinstance(amount, str | int | float) or len(str(amount)) > MAX_AMOUNT_DIGITS:
        raise Refused(400, "amount must be a number, like 12.50")
    try:
        cents = Decimal(str(amount).strip()) * 100
    except InvalidOperation:
        raise Refused(400, "amount must be a number, like 12.50") from None
    if not cents.is_finite() or not 0 < cents <= MAX_AMOUNT * 100:
        raise Refused(400, f"amount must be more than 0 and at most {MAX_AMOUNT}")
    if cents != cents.to_integral_value():
        raise Refused(400, "amount must have at most two decimals")
    return customer, int(cents)
