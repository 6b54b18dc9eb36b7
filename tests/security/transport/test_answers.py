from localmcp_harden.security.transport.answers import AnswerHeaders, preflight_headers


def dressed(*headers, hsts_s=0, readable_by=None):
    return AnswerHeaders(hsts_s=hsts_s).dress(headers, "id-1", readable_by)


def test_every_answer_gets_them():
    assert dict(dressed()) == {
        b"x-content-type-options": b"nosniff",
        b"content-security-policy": b"frame-ancestors 'none'",
        b"referrer-policy": b"no-referrer",
        b"cache-control": b"no-store",
        b"x-request-id": b"id-1",
    }


def test_what_the_application_says_itself_is_kept_and_not_said_twice():
    found = dressed(
        (b"Referrer-Policy", b"origin"), (b"cache-control", b"max-age=60"), (b"etag", b"x")
    )
    names = [name.lower() for name, _ in found]
    assert sorted(names) == sorted(set(names))
    assert (b"Referrer-Policy", b"origin") in found
    assert (b"cache-control", b"max-age=60") in found
    assert (b"etag", b"x") in found
    assert (b"x-content-type-options", b"nosniff") in found


def test_what_caches_must_check_they_may_not_keep():
    assert (b"cache-control", b"no-cache, no-transform, no-store") in dressed(
        (b"cache-control", b"no-cache, no-transform")
    )
    assert (b"cache-control", b"no-cache, no-store") in dressed(
        (b"cache-control", b"no-cache, no-store")
    )


def test_grants_and_ids_of_the_application_do_not_count():
    found = dressed((b"Access-Control-Allow-Origin", b"*"), (b"X-Request-Id", b"forged"))
    assert b"access-control-allow-origin" not in {name.lower() for name, _ in found}
    assert [value for name, value in found if name.lower() == b"x-request-id"] == [b"id-1"]


def test_a_listed_origin_may_read():
    found = dict(dressed(readable_by=b"https://app.example"))
    assert found[b"access-control-allow-origin"] == b"https://app.example"
    assert found[b"vary"] == b"origin"
    assert b"mcp-session-id" in found[b"access-control-expose-headers"]
    assert b"*" not in dict(preflight_headers())[b"access-control-allow-headers"]


def test_hsts_is_said_where_it_is_asked_for():
    assert dict(dressed(hsts_s=60))[b"strict-transport-security"] == b"max-age=60"
