"""The ledger of public names is that of the sources."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "api_ledger.py"


def test_the_interface_changes_only_on_purpose(capsys):
    faults = runpy.run_path(str(SCRIPT))["main"]([])

    assert faults == 0, capsys.readouterr().out


def test_fields_signatures_and_bases_are_in_it():
    ledger = runpy.run_path(str(SCRIPT))["render"]().splitlines()

    limits = "localmcp_harden.security.access.limits"
    assert f"{limits}.GcraRateLimiter class () @final" in ledger
    assert f"{limits}.GcraRateLimiter.limit def (call: Call, /) -> Decision" in ledger
    assert "localmcp_harden.core.errors.RateLimitedError class (RefusedError)" in ledger
    assert "localmcp_harden.core.events.CallRecord.call_id: str" in ledger
    assert not [line for line in ledger if "._" in line.split()[0].replace(".__", "")]
    assert ledger[2:] == sorted(set(ledger[2:]))


def test_a_changed_signature_is_seen(tmp_path, capsys):
    script = runpy.run_path(str(SCRIPT))
    changed = tmp_path / "ledger.txt"
    changed.write_text(script["render"]().replace("(call: Call, /)", "(call: Call)", 1))
    compare = script["main"]
    compare.__globals__["LEDGER"] = changed
    faults = compare([])

    assert faults == 1
    assert "nox -s ledger" in capsys.readouterr().out
