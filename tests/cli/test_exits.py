import pytest

from localmcp_harden.cli import exits
from localmcp_harden.cli.exits import ExitCode, exit_code_of, failure_line, unwrapped
from localmcp_harden.core import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.AuditVerificationError("x"), 1),
        (errors.PolicyDeniedError("x"), 1),
        (errors.ConfigError("x"), 2),
        (errors.UnsafeOrderError("x"), 2),
        (errors.MissingExtraError("cli", "x"), 3),
        (errors.StoreError("x"), 3),
        (errors.StoreVersionError("x"), 3),
        (exits.MissingComponentError("x"), 3),
        (errors.UpstreamError("x"), 4),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_every_error_has_its_exit_code(error, code):
    assert exit_code_of(error) == code


def test_the_numbers_are_part_of_the_interface():
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "ENVIRONMENT": 3,
        "UPSTREAM": 4,
        "FAULT": 70,
        "INTERRUPTED": 130,
    }


def test_a_failure_is_one_line_whatever_is_in_it():
    line = failure_line("a\nb\r\x1b[2Jc\u2028d\u202ee\x85f", "code")

    assert line == "localmcp-harden: code: a b [2Jc d e f"


def test_a_long_failure_is_cut():
    assert len(failure_line("x" * 100_000)) == 2_000


def test_a_group_of_one_is_unwrapped_and_others_are_not():
    inner = ValueError()
    pair = ExceptionGroup("", [ValueError(), KeyError()])

    assert unwrapped(ExceptionGroup("", [ExceptionGroup("", [inner])])) is inner
    assert unwrapped(inner) is inner
    assert unwrapped(pair) is pair
