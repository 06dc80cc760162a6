from __future__ import annotations

from workers.compat.edge_facts import local_cf
from workers.compat.web import Request


def test_a_served_request_has_a_stand_in_for_what_the_edge_knows():
    request = Request.incoming("http://h/", "GET", [("Accept-Encoding", "br")])
    assert (request.cf.colo, request.cf.country, request.cf.clientAcceptEncoding) == ("DFW", "US", "br")
    assert request.cf is request.cf
    assert request.headers.get("accept-encoding") == "br, gzip"
    inside = Request.incoming("http://h/", "GET", [("Accept-Encoding", "br")], at_edge=False)
    assert (inside.headers.get("accept-encoding"), inside.cf) == ("br", None)
    assert request.clone().cf.tlsClientAuth.certVerified == "NONE"
    assert Request("http://h/").cf is None


def test_a_given_one_is_kept_and_each_is_fresh():
    assert Request.incoming("http://h/", "GET", [], cf={"colo": "AMS"}).cf == {"colo": "AMS"}
    first = local_cf("")
    first.colo = "changed"
    assert local_cf("").colo == "DFW"


def test_the_signal_of_a_served_request_never_fires_by_itself():
    request = Request.incoming("http://h/", "GET", [])
    assert request.given_signal is None
    assert request.signal is request.signal
    assert not request.signal.aborted
