import pytest

from localmcp_harden import HardenConfig
from localmcp_harden.compose.structure import structure
from localmcp_harden.security.transport.config import LOOPBACK_HOSTS, HttpConfig
from localmcp_harden.security.transport.refusals import (
    REFUSALS,
    app_refusal,
    refusal,
    status_of,
)


def test_the_defaults_trust_nobody():
    config = HttpConfig()
    assert config.allowed_hosts == LOOPBACK_HOSTS
    assert config.trusted_proxies == config.trace_networks == config.cors_origins == ()
    assert config.trace_context == "never"


@pytest.mark.parametrize(
    "settings",
    [{"allowed_hosts": ("*",)}, {"allowed_hosts": "localhost"}, {"allowed_hosts": ("",)},
     {"allowed_origins": ("app.example",)}, {"cors_origins": ("*",)},
     {"trusted_proxies": ("10.0.0.1/8",)}, {"trusted_proxies": ("proxy",)},
     {"trace_networks": (1,)}, {"content_types": ("JSON",)}, {"content_types": ("a/b;c",)},
     {"max_headers": 0}, {"max_body_bytes": 0}, {"max_body_bytes": 1.0}, {"body_timeout_s": 0},
     {"chunk_timeout_s": float("nan")}, {"forwarded_header": "x-real-ip"},
     {"trace_context": "always"}, {"refused_rate_per_s": 0}, {"hsts_s": -1}],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_without_being_quoted(settings):
    with pytest.raises((ValueError, TypeError)) as raised:
        HttpConfig(**settings)
    assert next(iter(settings)) in str(raised.value)


def test_a_file_can_say_it():
    data = {"http": {"allowed_hosts": ["mcp.example:*"], "trusted_proxies": ["10.0.0.0/8"]}}
    config, problems = structure(data, HardenConfig)
    assert problems == []
    assert config.http.allowed_hosts == ("mcp.example:*",)
    assert config.http.trusted_proxies == ("10.0.0.0/8",)
    assert structure({"http": {"trusted_proxies": ["x"]}}, HardenConfig)[1]


def test_every_refusal_has_a_status_of_its_kind():
    for code, decision in REFUSALS.items():
        assert decision.code == code
        assert 400 <= status_of(decision) < 600
    assert refusal("invalid_json", "why").reason == "why"
    assert refusal("rate_limited", retry_after_s=2.0).retry_after_s == 2.0
    assert refusal("overloaded").retry_after_s == 1.0


@pytest.mark.parametrize(
    ("status", "code"), [(401, "unauthenticated"), (404, "not_found"), (418, "bad_request")]
)
def test_an_applications_status_has_a_code(status, code):
    assert app_refusal(status).code == code
