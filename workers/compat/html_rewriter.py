"""HTMLRewriter: change an HTML response by CSS selectors while it passes.

https://developers.cloudflare.com/workers/runtime-apis/html-rewriter/

Source text that no handler touches comes out unchanged.
DIFFERS(html-rewriter): the document is transformed when its last byte has arrived, not piece by piece, so a text node
is one chunk.
"""

from __future__ import annotations

import html
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

from workers.compat.html_selectors import Node, Selector
from workers.compat.html_tokens import Token, tokens
from workers.compat.proxies import JsArray, JsProxy, JsTypeError
from workers.compat.streams import ReadableStream, settled
from workers.compat.web import Response

__all__ = ["HTMLRewriter"]

_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)


def _content(text: object, options: object, members: dict[str, Any]) -> str:
    settings = {**(cast(dict[str, Any], options) if isinstance(options, dict) else {}), **members}
    return str(text) if settings.get("html") else html.escape(str(text), quote=False)


class _Token(JsProxy):
    """What handlers receive: something at one place of the document, with content added around it."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._head: list[str] = []
        self._tail: list[str] = []
        self._instead: str | None = None
        self.removed = False

    def before(self, content: object, options: object = None, /, **members: Any) -> Any:
        """Insert content before it."""
        self._head.append(_content(content, options, members))
        return self

    def after(self, content: object, options: object = None, /, **members: Any) -> Any:
        """Insert content after it."""
        self._tail.insert(0, _content(content, options, members))
        return self

    def replace(self, content: object, options: object = None, /, **members: Any) -> Any:
        """Put content in its place."""
        self.removed = True
        self._instead = _content(content, options, members)
        return self

    def remove(self) -> Any:
        """Take it out."""
        self.removed = True
        self._instead = None
        return self

    def rendered(self) -> str:
        """Return what comes out for it."""
        own = (self._instead or "") if self.removed else self._source
        return "".join([*self._head, own, *self._tail])


class Text(_Token):
    """A run of text; `text` is as in the source, entities included."""

    def __init__(self, source: str, is_last: bool) -> None:
        super().__init__(source)
        self.text = source
        self.lastInTextNode = is_last


class Comment(_Token):
    """A comment; `text` can be set."""

    def __init__(self, text: str) -> None:
        super().__init__("")
        self.text = text

    def rendered(self) -> str:
        """Return what comes out for it."""
        self._source = f"<!--{self.text}-->"
        return super().rendered()


class Doctype(JsProxy):
    """The document type declaration."""

    def __init__(self, declaration: str) -> None:
        words = declaration.split()
        self.name = words[1].lower() if len(words) > 1 else None
        self.publicId = None
        self.systemId = None


class EndTag(_Token):
    """An end tag, given to `onEndTag` handlers."""

    def __init__(self, source: str, name: str) -> None:
        super().__init__(source)
        self.name = name


class DocumentEnd(JsProxy):
    """The end of the document: content can be appended."""

    def __init__(self) -> None:
        self.added: list[str] = []

    def append(self, content: object, options: object = None, /, **members: Any) -> DocumentEnd:
        """Add content at the end."""
        self.added.append(_content(content, options, members))
        return self


class Element(_Token):
    """A start tag and what belongs to it."""

    def __init__(self, source: str, name: str, attributes: dict[str, str], is_void: bool) -> None:
        super().__init__(source)
        self._name = name
        self._attributes = attributes
        self._changed = False
        self.is_void = is_void
        self.prepended: list[str] = []
        self.appended: list[str] = []
        self.inner: str | None = None
        self.drops_tags = False
        self.end_handlers: list[Callable[[EndTag], Any]] = []

    @property
    def tagName(self) -> str:
        """The name in lower case; it can be set."""
        return self._name

    @tagName.setter
    def tagName(self, name: str) -> None:
        self._name, self._changed = name, True

    @property
    def attributes(self) -> Iterator[JsArray]:
        """Iterate over [name, value] pairs."""
        return iter([JsArray(pair) for pair in self._attributes.items()])

    @property
    def namespaceURI(self) -> str:
        """The namespace of HTML."""
        return "http://www.w3.org/1999/xhtml"

    @property
    def selfClosing(self) -> bool:
        """Whether the source ends with "/>"."""
        return self._source.endswith("/>")

    @property
    def canHaveContent(self) -> bool:
        """Whether there is an end tag."""
        return not self.is_void

    def getAttribute(self, name: str) -> str | None:
        """Return an attribute's value, None when it is absent."""
        return self._attributes.get(name.lower())

    def hasAttribute(self, name: str) -> bool:
        """Say whether the attribute is there."""
        return name.lower() in self._attributes

    def setAttribute(self, name: str, value: object) -> Element:
        """Set an attribute."""
        self._attributes[name.lower()] = str(value)
        self._changed = True
        return self

    def removeAttribute(self, name: str) -> Element:
        """Remove an attribute."""
        self._changed = self._attributes.pop(name.lower(), None) is not None or self._changed
        return self

    def prepend(self, content: object, options: object = None, /, **members: Any) -> Element:
        """Insert content right after the start tag."""
        self.prepended.insert(0, _content(content, options, members))
        return self

    def append(self, content: object, options: object = None, /, **members: Any) -> Element:
        """Insert content right before the end tag."""
        self.appended.append(_content(content, options, members))
        return self

    def setInnerContent(self, content: object, options: object = None, /, **members: Any) -> Element:
        """Replace everything inside."""
        self.inner = _content(content, options, members)
        self.prepended, self.appended = [], []
        return self

    def removeAndKeepContent(self) -> Element:
        """Take out the tags only."""
        self.drops_tags = True
        return self

    def onEndTag(self, handler: Callable[[EndTag], Any]) -> None:
        """Call `handler(end_tag)` when the end tag is reached.

        Raises:
            JsTypeError: The element has none.
        """
        if self.is_void:
            raise JsTypeError("Parser error: No end tag.")
        self.end_handlers.append(handler)

    @property
    def hides_content(self) -> bool:
        """Whether what is inside does not come out."""
        return self.removed or self.inner is not None

    def start_rendered(self) -> str:
        """Return what comes out at the start tag."""
        if self.removed:
            head = "".join([*self._head, self._instead or ""])
            return head + ("".join(self._tail) if self.is_void else "")
        tag = "" if self.drops_tags else self._tag()
        inside = "".join(self.prepended) + (self.inner or "")
        return "".join(self._head) + tag + inside + ("".join(self._tail) if self.is_void else "")

    def _tag(self) -> str:
        if not self._changed:
            return self._source
        attributes = "".join(
            f' {name}="{value.replace(chr(34), "&quot;")}"' for name, value in self._attributes.items()
        )
        return f"<{self._name}{attributes}{' /' if self.selfClosing else ''}>"

    def end_rendered(self, end: EndTag | None) -> str:
        """Return what comes out at the end tag; None when the source has none."""
        tag = "" if end is None or self.removed or self.drops_tags else end.rendered()
        return "".join([*([] if self.removed else self.appended), tag, *self._tail])

    def end_source(self, source: str) -> str:
        """Return the end tag's text under the element's present name."""
        return f"</{self._name}>" if self._changed else source


class _Handlers:
    """The callbacks of one `on` call; a handler is an object or a dict with any of them."""

    def __init__(self, handler: Any) -> None:
        def find(name: str) -> Callable[..., Any] | None:
            members = cast("dict[str, Any]", handler)
            return members.get(name) if isinstance(handler, dict) else getattr(handler, name, None)

        self.element, self.text, self.comments = find("element"), find("text"), find("comments")
        self.doctype, self.end = find("doctype"), find("end")


class HTMLRewriter(JsProxy):
    """Register handlers with `on(selector, handler)` and `onDocument(handler)`, then `transform(response)`."""

    def __init__(self) -> None:
        self._rules: list[tuple[Selector, _Handlers]] = []
        self._document: list[_Handlers] = []

    def on(self, selector: str, handler: Any) -> HTMLRewriter:
        """Call the handler's `element`, `text` and `comments` for what matches the selector or is inside of it."""
        self._rules.append((Selector(selector), _Handlers(handler)))
        return self

    def onDocument(self, handler: Any) -> HTMLRewriter:
        """Call the handler's `doctype`, `text`, `comments` and `end` for the whole document."""
        self._document.append(_Handlers(handler))
        return self

    def transform(self, response: Any) -> Response:
        """Return the response with its body rewritten as it is read; handlers may be async."""
        source: Response = getattr(response, "js_object", response)
        body = source.body
        if body is None:
            return source
        rewritten = Response(ReadableStream.from_iterator(self._rewritten(body)), source)
        rewritten.headers.delete("content-length")
        return rewritten

    async def _rewritten(self, body: ReadableStream) -> AsyncIterator[bytes]:
        document = (await body.read_all()).decode("utf-8", "replace")
        run = _Run(self._rules, self._document)
        for token in tokens(document):
            piece = await run.feed(token)
            if piece:
                yield piece.encode()
        last = await run.finish()
        if last:
            yield last.encode()


class _Open:
    """An element that is open now."""

    def __init__(self, node: Node, element: Element | None, handlers: list[_Handlers]) -> None:
        self.node = node
        self.element = element
        self.handlers = handlers


class _Run:
    """One pass over one document."""

    def __init__(self, rules: list[tuple[Selector, _Handlers]], document: list[_Handlers]) -> None:
        self._rules = rules
        self._document = document
        self._root = Node("", {}, None)
        self._open: list[_Open] = []
        self._hidden = 0

    async def feed(self, token: Token) -> str:
        """Return what comes out for one token."""
        if token.kind == "start":
            return await self._start(token)
        if token.kind == "end":
            return await self._end(token)
        if token.kind == "text":
            return self._seen(await self._text(token.source))
        if token.kind == "comment":
            return self._seen(await self._comment(token.source))
        if token.kind == "doctype":
            for handlers in self._document:
                if handlers.doctype is not None:
                    await settled(handlers.doctype(Doctype(token.source[2:].rstrip(">"))))
        return self._seen(token.source)

    def _seen(self, text: str) -> str:
        return "" if self._hidden else text

    async def _start(self, token: Token) -> str:
        attributes = dict(reversed(token.attributes))
        parent = self._open[-1].node if self._open else self._root
        node = parent.child(token.name, attributes)
        matching = [handlers for selector, handlers in self._rules if selector.matches(node)]
        is_void = token.name in _VOID
        element = Element(token.source, token.name, dict(token.attributes), is_void)
        was_hidden = bool(self._hidden)
        for handlers in matching:
            if handlers.element is not None and not was_hidden:
                await settled(handlers.element(element))
        if not is_void:
            self._open.append(_Open(node, element, matching))
            self._hidden += was_hidden or element.hides_content
        return "" if was_hidden else element.start_rendered()

    async def _end(self, token: Token) -> str:
        names = [opened.node.name for opened in self._open]
        if token.name not in names:
            return self._seen(token.source)
        out = ""
        while True:
            opened = self._open.pop()
            is_own = opened.node.name == token.name
            out += await self._closed(opened, token.source if is_own else None)
            if is_own:
                return out

    async def _closed(self, opened: _Open, source: str | None) -> str:
        element = opened.element
        assert element is not None
        self._hidden = max(0, self._hidden - (1 if self._hidden else 0))
        if self._hidden:
            return ""
        end = None if source is None else EndTag(element.end_source(source), element.tagName)
        if end is not None:
            for handler in element.end_handlers:
                await settled(handler(end))
        return element.end_rendered(end)

    def _around(self) -> list[_Handlers]:
        found = [handlers for opened in self._open for handlers in opened.handlers]
        return [*self._document, *found]

    async def _text(self, source: str) -> str:
        listening = [handlers.text for handlers in self._around() if handlers.text is not None]
        if not listening:
            return source
        # Each text node ends with an empty last chunk, as it does when chunks come from the network.
        out = ""
        for chunk in (Text(source, False), Text("", True)):
            for handler in listening:
                await settled(handler(chunk))
            out += chunk.rendered()
        return out

    async def _comment(self, source: str) -> str:
        listening = [handlers.comments for handlers in self._around() if handlers.comments is not None]
        if not listening:
            return source
        comment = Comment(source.removeprefix("<!--").removesuffix("-->"))
        for handler in listening:
            await settled(handler(comment))
        return comment.rendered()

    async def finish(self) -> str:
        """Return what comes after the last token."""
        out = ""
        while self._open:
            out += await self._closed(self._open.pop(), None)
        end = DocumentEnd()
        for handlers in self._document:
            if handlers.end is not None:
                await settled(handlers.end(end))
        return out + "".join(end.added)
